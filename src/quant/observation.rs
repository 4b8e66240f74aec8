//! What a method decides on layers that it looks at first.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Fingerprint, Footprint, Observation, ObserveJob, QuantizeRequest, Quantizer, Way, walk};
use crate::device::Device;
use crate::error::Result;
use crate::io::Staging;
use crate::progress::Progress;

/// Name of the journal in a folder of [`ObserveJob::state`], by which it is known.
pub(crate) const STATE_JOURNAL: &str = "journal";

/// What the method decides, if it looks before it decides.
pub(super) async fn observe(
    device: &Device,
    quantizer: &dyn Quantizer,
    request: &QuantizeRequest,
    footprint: &Footprint<'_>,
    fingerprint: &Fingerprint,
    progress: &mut dyn Progress,
) -> Result<Observation> {
    let (Way::Observed(observing), Some(data)) = (quantizer.way(request.calibration.is_some()), &request.calibration)
    else {
        return Ok(Observation::default());
    };
    // A look may take hours: whether there is a place for the result is asked before. What lies there stays.
    drop(Staging::resume(&request.out, request.force)?);
    let model = walk::open(quantizer.name(), device, &request.model)?;
    let (plan, state, resume) = (request.plan.as_ref(), &*state(&request.out), request.resume);
    observing.observe(ObserveJob { model, data, footprint, plan, state, resume, fingerprint, progress }).await
}

/// Where a method keeps what it found out for a result.
fn state(out: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(out.file_name().unwrap_or_default());
    name.push(".search");
    out.with_file_name(name)
}

/// Whether something is kept for a result. A folder without a journal is not ours.
pub(super) fn remembers(out: &Path) -> bool {
    state(out).join(STATE_JOURNAL).is_file()
}

/// Removes what is kept for a result.
pub(super) fn forget(out: &Path) {
    if remembers(out) {
        // Whatever may be left of it is replaced by the next run.
        let _ = std::fs::remove_dir_all(state(out));
    }
}
