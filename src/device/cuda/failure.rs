//! What becomes of a code that the driver answers with.

use super::driver::{Code, Functions};
use crate::error::Error;

/// Codes after which a context answers nothing else: the process has to begin anew.
const LOSSES: [i32; 15] = [4, 214, 220, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 720, 999];

/// Codes of a driver that does not take the PTX.
const REFUSALS: [i32; 8] = [200, 209, 218, 221, 222, 223, 300, 500];

/// Whether the device is gone with it.
pub(super) fn is_loss(code: Code) -> bool {
    LOSSES.contains(&code.0)
}

/// The error of a call on a device.
pub(super) fn error(device: &str, functions: &Functions, call: &str, code: Code) -> Error {
    let name = functions.describe(code);
    let detail = match code.0 {
        2 => format!("out of memory ({call}: {name}); lower --window or take a smaller model"),
        46 | 101 | 802 => format!("cannot be used now ({call}: {name}); see nvidia-smi for who holds it"),
        701 => format!("a kernel needs more than the device has ({call}: {name}); use --device wgpu or cpu"),
        803 | 804 => format!("the driver's parts do not fit together ({call}: {name}); restart after its update"),
        refusal if REFUSALS.contains(&refusal) => {
            format!("the driver refuses a kernel ({call}: {name}); update it, or use --device wgpu or cpu")
        }
        _ => format!("{call} failed: {name}"),
    };
    Error::Device { device: device.to_owned(), detail }
}
