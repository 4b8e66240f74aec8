//! Large cases, for benches: made by the functions that make the cases of the conformance suite, so that nothing is timed
//! that is not checked.

use std::fmt;

use super::case::Case;
use crate::dispatch::{Kernel, Needs, Variant};

/// How large cases are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As in a language model of about eight billion weights.
    Full,
    /// A few hundred thousand weights: whether a bench runs, not how fast a device is.
    Quick,
}

impl Scale {
    /// One of two sizes.
    pub(super) fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

/// A case that is built when it is wanted, since its data is large.
pub struct LargeCase {
    /// Its kernel's name.
    pub kernel: &'static str,
    /// How the kernel is run.
    pub variant: Variant,
    /// The size, for people.
    pub size: String,
    /// The matrix product it computes, if any: cases with the same one have the same result, but for quantization.
    pub product: Option<Product>,
    make: Box<dyn Fn() -> Case>,
    error: Option<Box<dyn Fn() -> f64>>,
}

/// `[batch, cols]` by `[rows, cols]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Batch, rows and columns.
    pub shape: [usize; 3],
    /// Whether all of it is f32: what the others are compared with.
    pub dense_f32: bool,
}

impl LargeCase {
    pub(super) fn new<K: Kernel>(variant: Variant, size: String, make: impl Fn() -> Case + 'static) -> Self {
        Self { kernel: K::NAME, variant, size, product: None, make: Box::new(make), error: None }
    }

    pub(super) fn product(self, shape: [usize; 3], dense_f32: bool) -> Self {
        Self { product: Some(Product { shape, dense_f32 }), ..self }
    }

    /// With a measure of what rounding its input costs.
    pub(super) fn measuring(self, error: impl Fn() -> f64 + 'static) -> Self {
        Self { error: Some(Box::new(error)), ..self }
    }

    /// The relative error of a product of int8 activations against exact ones, of normally distributed activations and a
    /// sample of the rows: the root of the summed squares of the differences over those of the exact products. None for
    /// kernels that round no input.
    pub fn relative_error(&self) -> Option<f64> {
        self.error.as_ref().map(|error| error())
    }

    /// `kernel/variant/size`.
    pub fn name(&self) -> String {
        format!("{}/{}/{}", self.kernel, self.variant, self.size)
    }

    /// What it needs of a device.
    pub fn needs(&self) -> Needs {
        self.variant.needs()
    }

    /// Makes its data. The twin computes a sample of the result only.
    pub fn build(&self) -> Case {
        (self.make)()
    }
}

impl fmt::Debug for LargeCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::large;
    use crate::device::Device;
    use crate::error::Result;

    #[test]
    fn the_cpu_computes_every_quick_one_rightly() -> Result<()> {
        let device = Device::cpu();
        let cases = large(Scale::Quick);
        for case in cases.iter().filter(|c| device.caps().meet(c.needs())) {
            pollster::block_on(case.build().check_large(&device))?;
        }
        Ok(())
    }
}
