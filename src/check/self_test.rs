//! A quick look whether a device can be trusted, taken whenever a GPU is opened: drivers that compute wrongly are common.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::case::Case;
use super::cases;
use crate::device::{Caps, Device};
use crate::dispatch::{KernelSpec, Role, Variant};
use crate::error::Result;

/// A self-test that passed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SelfTest {
    /// Kernels that were run: each once, and once more by cooperative matrices for each type of activations that the device
    /// multiplies so.
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

/// Of each kernel the largest of the small cases, in the most demanding variant that the device can run; those by
/// cooperative matrices beside it, not in its place, since only large products take them; and where some are taken by an entry
/// for this device alone, the largest of those.
fn selection(caps: &Caps) -> Vec<Case> {
    let able = |kernel: &KernelSpec| (kernel.variants)().into_iter().filter(|v| caps.meet(v.needs()));
    let multiplies = |v: &Variant| v.needs().cooperative_matrix.is_some();
    let demands = |v: &Variant| u8::from(v.needs().f16) + u8::from(v.needs().subgroups);
    let most_demanding =
        |kernel: &KernelSpec| able(kernel).filter(|v| !multiplies(v)).max_by_key(demands).into_iter().collect();
    let by_matrices = |kernel: &KernelSpec| {
        let by_activation = able(kernel).filter(multiplies).map(|v| (v.dtype(Role::Activation).to_string(), v));
        by_activation.collect::<BTreeMap<_, _>>().into_values().collect()
    };
    let mut chosen: BTreeMap<(&str, String, bool), Case> = BTreeMap::new();
    for case in cases::of(&most_demanding).into_iter().chain(cases::of(&by_matrices)) {
        let own = caps.wgmma && case.takes_hopper();
        if case.bytes > if own { SMALL_HOPPER } else { SMALL } {
            continue;
        }
        let key = (case.kernel.name, case.variant.to_string(), own);
        if chosen.get(&key).is_none_or(|best| best.bytes < case.bytes) {
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

    #[test]
    fn cooperative_matrices_are_tested_beside_what_does_without() {
        let plain = Caps { f16: true, subgroups: Some((32, 32)), ..Caps::portable() };
        let names = |caps: &Caps| selection(caps).iter().map(Case::name).collect::<Vec<_>>();
        let (without, with) = (names(&plain), names(&Caps { cooperative_matrix: Some(16), ..plain }));
        assert!(without.iter().all(|name| with.contains(name)));
        let more: Vec<_> = with.iter().filter(|name| !without.contains(name)).collect();
        let of = |start: &str| more.iter().filter(|name| name.starts_with(start) && name.contains("matrix_16")).count();
        assert_eq!((more.len(), of("matmul/"), of("matmul_group/")), (4, 2, 2), "{more:?}");
    }
}
