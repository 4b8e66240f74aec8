//! Times the kernels of a device.

use super::copy::copy;
use super::results::{DeviceBench, Outcome, Row, Timed, is_dense_f16};
use super::timing::{self, Effort};
use crate::check::{LargeCase, Scale, large};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// The cases whose name, `kernel/variant/size`, contains `filter`.
///
/// # Errors
/// [`Error::Config`] if there is none.
///
/// ```
/// use bitsmith::{bench::kernel_cases, check::Scale};
/// assert!(kernel_cases(Scale::Quick, "rms_norm")?.iter().all(|case| case.kernel == "rms_norm"));
/// assert!(kernel_cases(Scale::Quick, "typo").is_err());
/// # Ok::<(), bitsmith::Error>(())
/// ```
pub fn kernel_cases(scale: Scale, filter: &str) -> Result<Vec<LargeCase>> {
    let mut cases = large(scale);
    let mut kernels: Vec<_> = cases.iter().map(|case| case.kernel).collect();
    kernels.sort_unstable();
    kernels.dedup();
    cases.retain(|case| case.name().contains(filter));
    if cases.is_empty() {
        let detail = format!("no case's name contains `{filter}`; there are cases of {}", kernels.join(", "));
        return Err(Error::config("filter", detail));
    }
    Ok(cases)
}

/// Checks and times those of `cases`, made for this scale, that the device can run. The dense products that they are
/// compared with are timed too. `request` is what the device was asked for by.
///
/// # Errors
/// [`Error::Cancelled`], and [`Error::Device`] if the device cannot even copy; a case that fails is a row that says so.
pub async fn bench_kernels(
    device: &Device,
    request: &str,
    cases: &[LargeCase],
    scale: Scale,
    progress: &mut dyn Progress,
) -> Result<DeviceBench> {
    let effort = Effort::of(scale);
    let runs = |case: &&LargeCase| device.caps().meet(case.needs());
    let cases: Vec<&LargeCase> = cases.iter().filter(runs).collect();
    let all = large(scale);
    let peers: Vec<&LargeCase> = all.iter().filter(runs).filter(|case| is_missing_peer(case, &cases)).collect();

    progress.begin(&format!("timing on {request}"), (1 + cases.len() + peers.len()) as u64);
    progress.advance(0, "copy");
    let mut found = DeviceBench::new(request, device, copy(device, &effort)?);
    progress.advance(1, "copy");
    let mut others = Vec::with_capacity(peers.len());
    for (i, case) in cases.iter().chain(&peers).enumerate() {
        if progress.cancelled() {
            return Err(Error::Cancelled);
        }
        progress.advance(0, &case.name());
        let row = row(device, case, &effort, &mut found).await;
        if i < cases.len() {
            found.rows.push(row)
        } else {
            others.push(row)
        }
        progress.advance(1, &case.name());
    }
    progress.end();
    found.compare_products(&others);
    if let Some(pipelines) = &mut found.pipelines {
        pipelines.created = device.pipelines();
    }
    Ok(found)
}

/// Whether a case is a dense product that some of `cases` want to be compared with.
fn is_missing_peer(case: &LargeCase, cases: &[&LargeCase]) -> bool {
    let Some(product) = case.product.filter(|p| p.dense_f32 || is_dense_f16(case)) else { return false };
    let wanted = cases.iter().any(|c| c.product.is_some_and(|p| p.shape == product.shape));
    wanted && cases.iter().all(|c| c.name() != case.name())
}

/// Checks one case, then times it.
async fn row(device: &Device, large: &LargeCase, effort: &Effort, found: &mut DeviceBench) -> Row {
    let case = large.build();
    let checked = case.check_large(device).await;
    let pipelines = device.pipelines();
    let outcome = checked.and_then(|()| timing::time(device, &case, effort));
    if let Some(counts) = &mut found.pipelines {
        counts.while_timed += device.pipelines() - pipelines;
    }
    let outcome = match outcome {
        Ok(timing) => Outcome::Timed(Timed::new(timing, case.bytes, case.operations, found.copy.gb_s)),
        Err(error @ Error::Limit { .. }) => Outcome::NotRun { not_run: error.to_string() },
        Err(error) => Outcome::Wrong { wrong: error.to_string() },
    };
    tracing::info!(case = large.name(), ?outcome);
    Row::new(large, outcome)
}
