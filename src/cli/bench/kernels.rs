//! `bitsmith bench`: kernels on devices.

use bitsmith::bench::{KernelBench, bench_kernels, kernel_cases};
use bitsmith::check::{self, Scale};
use bitsmith::{Error, Result, report};

use super::{Bench, Devices};
use crate::cli::bar::Bar;
use crate::cli::stdout;

impl Bench {
    /// Measures device after device. One that cannot be opened, or computes wrongly, fails the run after the others.
    pub(super) async fn kernels(&self) -> Result<()> {
        let scale = self.scale();
        let cases = kernel_cases(scale, &self.filter)?;
        let mut results = KernelBench::new(scale);
        let mut failed = None;
        for request in self.device.unwrap_or(Devices::All).requests(scale).await {
            let device = match check::open_device(&request).await {
                Ok(device) => device,
                Err(error) => {
                    failed.get_or_insert(error);
                    continue;
                }
            };
            let mut bar = Bar::new(self.quiet);
            let found = bench_kernels(&device, &request.to_string(), &cases, scale, &mut bar).await?;
            if !self.output.json {
                stdout::text(&report::kernel_bench(&results, &found))?;
            }
            if let Some(detail) = found.wrong() {
                let device = device.caps().name.clone();
                failed.get_or_insert(Error::Device { device, detail: detail.to_owned() });
            }
            results.devices.push(found);
        }
        self.write(&results)?;
        if self.output.json && !results.devices.is_empty() {
            stdout::json(&results)?;
        }
        failed.map_or(Ok(()), Err)
    }

    pub(super) fn scale(&self) -> Scale {
        if self.quick { Scale::Quick } else { Scale::Full }
    }
}
