//! A quick look whether a device can be trusted, taken whenever a GPU is opened: drivers that compute wrongly are common.

use std::collections::BTreeMap;
use std::time::Instant;

use super::case::Case;
use super::cases;
use crate::device::{Caps, Device};
use crate::dispatch::{KernelSpec, Variant};
use crate::error::Result;

/// A self-test that passed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SelfTest {
    /// Kernels that were run.
    pub kernels: usize,
    /// Wall time, shader compilation included.
    pub seconds: f64,
}

/// Runs every kernel once on a small case, in the variant that makes most use of the device, and compares with the plain
/// twin.
///
/// # Errors
/// [`crate::Error::Device`] with device, driver and the kernel that computes wrongly.
pub async fn self_test(device: &Device) -> Result<SelfTest> {
    let start = Instant::now();
    let cases = selection(device.caps());
    Case::check_all(&cases, device).await?;
    Ok(SelfTest { kernels: cases.len(), seconds: start.elapsed().as_secs_f64() })
}

/// Bytes of a case: enough for several workgroups, little enough that the twins of all kernels take milliseconds.
const SMALL: usize = 128 << 10;

/// Of each kernel the largest of the small cases, in the most demanding variant that the device can run.
fn selection(caps: &Caps) -> Vec<Case> {
    let demands = |v: &Variant| u8::from(v.needs().f16) + u8::from(v.needs().subgroups);
    let most_demanding = |kernel: &KernelSpec| {
        let able = (kernel.variants)().into_iter().filter(|v| caps.meet(v.needs()));
        able.max_by_key(demands).into_iter().collect()
    };
    let mut chosen: BTreeMap<&str, Case> = BTreeMap::new();
    let rank = |case: &Case| (demands(&case.variant), case.bytes);
    for case in cases::of(&most_demanding).into_iter().filter(|c| c.bytes <= SMALL) {
        if chosen.get(case.kernel.name).is_none_or(|best| rank(best) < rank(&case)) {
            chosen.insert(case.kernel.name, case);
        }
    }
    chosen.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_tested_in_a_variant_that_the_device_can_run() {
        let plain = Caps::portable();
        let rich = Caps { f16: true, subgroups: Some((32, 32)), ..Caps::portable() };
        for caps in [plain, rich] {
            let cases = selection(&caps);
            assert_eq!(cases.len(), crate::kernel::ALL.len());
            for case in cases {
                let needs = case.variant.needs();
                let all = (case.kernel.variants)();
                assert!(caps.meet(needs), "{}", case.name());
                let missed = all.iter().any(|v| v.needs().subgroups && caps.meet(v.needs()) && !needs.subgroups);
                assert!(!missed, "{} leaves subgroups untested", case.name());
            }
        }
    }
}
