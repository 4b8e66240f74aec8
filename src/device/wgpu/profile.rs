//! Timestamps around each dispatch.

use wgpu::BufferUsages;

use super::WgpuDevice;
use super::prepared::Dispatches;
use crate::device::profile::StepTime;
use crate::device::recording::Recording;
use crate::error::Result;

/// Dispatches of one query set: each takes a timestamp at its start and one at its end.
const MOST: usize = wgpu::QUERY_SET_MAX_QUERIES as usize / 2;

impl WgpuDevice {
    /// Runs a recording with each dispatch in a pass of its own; without timestamp queries only runs it.
    pub(in crate::device) async fn profile(&self, recording: &Recording) -> Result<Option<Vec<StepTime>>> {
        if !self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            self.submit(recording)?;
            return Ok(None);
        }
        let dispatches = Dispatches::new(self, recording)?;
        let mut times = Vec::with_capacity(recording.len());
        for (chunk, names) in (0..).step_by(MOST).zip(recording.kernels().collect::<Vec<_>>().chunks(MOST)) {
            let seconds = self.timed(&dispatches, chunk..chunk + names.len()).await?;
            times.extend(names.iter().zip(seconds).map(|(kernel, seconds)| StepTime { kernel, seconds }));
        }
        Ok(Some(times))
    }

    async fn timed(&self, dispatches: &Dispatches, range: std::ops::Range<usize>) -> Result<Vec<f64>> {
        // At most QUERY_SET_MAX_QUERIES.
        let count = u32::try_from(2 * range.len()).unwrap_or(u32::MAX);
        let bytes = u64::from(count) * u64::from(wgpu::QUERY_SIZE);
        let queries = self.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("times"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let resolved = self.buffer(Some("times"), bytes, BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC)?;
        let staged = self.staged(bytes, |encoder, staging| {
            dispatches.encode_timed(range, &queries, encoder);
            encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
            encoder.copy_buffer_to_buffer(&resolved, 0, staging, 0, bytes);
            Ok(())
        })?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&staged.read(self).await?);
        let tick = f64::from(self.queue.get_timestamp_period()) * 1e-9;
        // A clock that was set back between two stamps has measured nothing.
        Ok(ticks.as_chunks::<2>().0.iter().map(|[start, end]| end.saturating_sub(*start) as f64 * tick).collect())
    }
}
