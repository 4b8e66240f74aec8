//! Activations from one storage type to the other.

use super::activations::{Activations, Half};
use super::param;
use crate::device::Recorder;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::kernel::cast::{self, Cast, Params};

/// Activations rounded to f16, half to even; what is too large becomes infinite.
pub fn half(recorder: &mut Recorder, x: &Activations) -> Result<Half> {
    let count = x.rows * x.cols;
    let buffer = recorder.alloc(count * 2)?;
    let params = Params { count: param("cast", count)? };
    recorder.dispatch::<Cast>(&params, cast::narrow(Dtype::F16), &[&x.buffer, &buffer])?;
    Ok(Half { buffer, rows: x.rows, cols: x.cols })
}

/// Activations back in f32.
pub fn widen(recorder: &mut Recorder, x: &Half) -> Result<Activations> {
    let count = x.rows * x.cols;
    let buffer = recorder.alloc(count * 4)?;
    let params = Params { count: param("cast", count)? };
    recorder.dispatch::<Cast>(&params, cast::widen(Dtype::F16), &[&x.buffer, &buffer])?;
    Ok(Activations { buffer, rows: x.rows, cols: x.cols })
}
