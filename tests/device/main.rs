//! Devices: whose memory a buffer is, caps and reuse, written buffers bound once, names, and what becomes of a GPU that
//! is lost, short of memory or wrong. `BITSMITH_REQUIRE=wgpu,emulated` makes a missing device a failure.

#[cfg(feature = "wgpu")]
mod caller;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "cuda")]
#[path = "../cuda/emulated.rs"]
mod emulated;
mod gpu;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod learned;
mod memory;
mod submissions;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod ternary;
mod wrong;

use libtest_mimic::{Arguments, Failed};

fn main() {
    let arguments = Arguments::from_args();
    let trials = [memory::trials(), submissions::trials(), wrong::trials(), gpu::trials()];
    #[cfg(feature = "cuda")]
    let trials = trials.into_iter().chain([cuda::trials()]);
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit();
}

/// Fails with what was found instead of the error that was expected.
fn expect_error<T: std::fmt::Debug>(result: bitsmith::Result<T>, words: &[&str]) -> Result<(), Failed> {
    let text = match result {
        Ok(value) => return Err(format!("no error but {value:?}").into()),
        Err(error) => error.to_string(),
    };
    match words.iter().find(|w| !text.contains(**w)) {
        Some(word) => Err(format!("`{word}` is missing in: {text}").into()),
        None => Ok(()),
    }
}
