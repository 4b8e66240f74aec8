//! Devices: whose memory a buffer is, caps and reuse, written buffers bound once, names, and what becomes of a GPU that
//! is lost, short of memory or wrong. `BITSMITH_REQUIRE=wgpu` makes a missing adapter a failure.

#[cfg(feature = "wgpu")]
mod caller;
mod gpu;
#[cfg(feature = "wgpu")]
mod learned;
mod memory;
mod submissions;
#[cfg(feature = "wgpu")]
mod ternary;
mod wrong;

use libtest_mimic::{Arguments, Failed};

fn main() {
    let arguments = Arguments::from_args();
    let trials = [memory::trials(), submissions::trials(), wrong::trials(), gpu::trials()];
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
