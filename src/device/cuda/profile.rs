//! Events around each launch.

use super::CudaDevice;
use crate::device::profile::StepTime;
use crate::device::recording::{Recording, Step};
use crate::error::Result;

impl CudaDevice {
    /// Runs a recording to its end with an event before and after each launch.
    pub(in crate::device) fn profile(&self, recording: &Recording) -> Result<Vec<StepTime>> {
        self.submissions.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let timed = |step: Step<'_>| {
            let [start, end] = [self.context.event()?, self.context.event()?];
            start.record()?;
            self.launch(step)?;
            end.record()?;
            Ok((step.spec.name, start, end))
        };
        let steps = recording.steps().map(timed).collect::<Result<Vec<_>>>()?;
        self.context.synchronize()?;
        steps.iter().map(|(kernel, start, end)| Ok(StepTime { kernel, seconds: start.seconds_until(end)? })).collect()
    }
}
