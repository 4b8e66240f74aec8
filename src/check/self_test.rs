//! A quick look whether a device can be trusted, taken whenever a GPU is opened: drivers that compute wrongly are common.

use std::collections::BTreeMap;
use std::time::Instant;

use super::case::Case;
use super::cases;
use crate::device::{Caps, Device};
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
    let cases = selection(cases::all(), device.caps());
    Case::check_all(&cases, device).await?;
    Ok(SelfTest { kernels: cases.len(), seconds: start.elapsed().as_secs_f64() })
}

/// Of each kernel the case with the most demanding variant that the device can run; of those the largest.
fn selection(cases: Vec<Case>, caps: &Caps) -> Vec<Case> {
    let mut chosen: BTreeMap<&str, Case> = BTreeMap::new();
    let rank = |case: &Case| {
        let needs = case.variant.needs();
        (u8::from(needs.f16) + u8::from(needs.subgroups), case.bytes)
    };
    for case in cases.into_iter().filter(|c| caps.meet(c.variant.needs())) {
        if chosen.get(case.kernel.name).is_none_or(|best| rank(best) < rank(&case)) {
            chosen.insert(case.kernel.name, case);
        }
    }
    chosen.into_values().collect()
}
