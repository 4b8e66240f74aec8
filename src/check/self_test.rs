//! A quick look whether a device can be trusted, taken whenever a GPU is opened: drivers that compute wrongly are common.

use std::collections::{BTreeMap, BTreeSet};
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
/// twin. Kernels with entries for some cards alone run twice on those, with such an entry too.
///
/// # Errors
/// [`crate::Error::Device`] with device, driver and the kernel that computes wrongly.
pub async fn self_test(device: &Device) -> Result<SelfTest> {
    let start = Instant::now();
    let cases = selection(device.caps());
    Case::check_all(&cases, device).await?;
    let kernels = cases.iter().map(|case| case.kernel.name).collect::<BTreeSet<_>>().len();
    Ok(SelfTest { kernels, seconds: start.elapsed().as_secs_f64() })
}

/// Bytes of a case: enough for several workgroups, little enough that the twins of all kernels take milliseconds.
const SMALL: usize = 128 << 10;
/// The same for entries that want many rows.
const SMALL_HOPPER: usize = 2 * SMALL;

/// Of each kernel the largest of the small cases, in the most demanding variant that the device can run; and where some are
/// taken by an entry for this device alone, the largest of those.
fn selection(caps: &Caps) -> Vec<Case> {
    let demands = |v: &Variant| u8::from(v.needs().f16) + u8::from(v.needs().subgroups);
    let most_demanding = |kernel: &KernelSpec| {
        let able = (kernel.variants)().into_iter().filter(|v| caps.meet(v.needs()));
        able.max_by_key(demands).into_iter().collect()
    };
    let mut chosen: BTreeMap<(&str, bool), Case> = BTreeMap::new();
    let rank = |case: &Case| (demands(&case.variant), case.bytes);
    for case in cases::of(&most_demanding) {
        let key = (case.kernel.name, caps.wgmma && case.takes_hopper());
        if case.bytes > if key.1 { SMALL_HOPPER } else { SMALL } {
            continue;
        }
        if chosen.get(&key).is_none_or(|best| rank(best) < rank(&case)) {
            chosen.insert(key, case);
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
        let hopper = Caps { wgmma: true, ..rich.clone() };
        for (caps, special) in [(plain, 0), (rich, 0), (hopper, 1)] {
            let cases = selection(&caps);
            assert_eq!(cases.len(), crate::kernel::ALL.len() + special);
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
