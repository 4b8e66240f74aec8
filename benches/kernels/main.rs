//! Times large cases of every kernel on one device or all, after checking their results. See `benches/README.md`.

mod limit;
mod results;
mod timing;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use bitsmith::check::{self, LargeCase, Scale};
use bitsmith::device::{Caps, DeviceKind};
use bitsmith::{Device, DeviceRequest, Error, Result};
use clap::Parser;

use results::{DeviceResults, Outcome, Results, Row, Timed};
use timing::Effort;

/// Times the kernels of bitsmith
#[derive(Debug, Parser)]
struct Options {
    /// Device: cpu, wgpu:N, or all of them; software adapters only count with --quick
    #[arg(long, default_value = "all")]
    device: String,
    /// Only cases whose name, kernel/variant/size, contains this
    #[arg(long, default_value = "")]
    filter: String,
    /// Small sizes and few repetitions: shows that everything runs, not how fast
    #[arg(long)]
    quick: bool,
    /// Also write the results to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every device could be opened and every result was right.
fn run(options: &Options) -> Result<bool> {
    let scale = if options.quick { Scale::Quick } else { Scale::Full };
    let mut results = Results::new(scale);
    let mut right = true;
    for request in requests(&options.device, scale)? {
        match pollster::block_on(check::open_device(&request)) {
            Ok(device) => {
                let found = bench(&device, scale, &options.filter)?;
                print!("{}", found.markdown());
                right &= found.rows.iter().all(|r| !matches!(r.outcome, Outcome::Wrong { .. }));
                results.devices.push(found);
            }
            Err(error) => {
                eprintln!("{request}: {error}");
                right = false;
            }
        }
    }
    if let Some(path) = &options.json {
        std::fs::write(path, results.json()).map_err(|e| Error::io(path, e))?;
    }
    Ok(right)
}

fn requests(device: &str, scale: Scale) -> Result<Vec<DeviceRequest>> {
    if device != "all" {
        return Ok(vec![device.parse()?]);
    }
    let counts = |caps: &Caps| caps.kind == DeviceKind::Gpu || scale == Scale::Quick;
    let gpus = adapters().into_iter().enumerate().filter(|(_, caps)| counts(caps));
    let gpus = gpus.map(|(index, _)| DeviceRequest::Wgpu(Some(index)));
    Ok(std::iter::once(DeviceRequest::Cpu).chain(gpus).collect())
}

#[cfg(feature = "wgpu")]
fn adapters() -> Vec<Caps> {
    pollster::block_on(bitsmith::device::wgpu::WgpuDevice::list())
}

#[cfg(not(feature = "wgpu"))]
fn adapters() -> Vec<Caps> {
    Vec::new()
}

/// All cases that the device can run.
fn bench(device: &Device, scale: Scale, filter: &str) -> Result<DeviceResults> {
    let caps = device.caps();
    eprintln!("{} ({}): memory", caps.name, caps.driver);
    let effort = Effort::of(scale);
    let cases = || check::large(scale).into_iter().filter(|c| caps.meet(c.needs()));
    let limit = limit::memory(device, cases(), &effort)?;
    let mut found = DeviceResults::new(caps, limit);
    for case in cases().filter(|c| c.name().contains(filter)) {
        eprint!("{}", case.name());
        let _ = std::io::stderr().flush();
        let row = row(device, &case, &effort, found.memory_limit_gb_s);
        eprintln!(" {}", row.outcome);
        found.rows.push(row);
    }
    found.compare_products();
    Ok(found)
}

/// Checks one case, then times it.
fn row(device: &Device, large: &LargeCase, effort: &Effort, limit: f64) -> Row {
    let case = large.build();
    let checked = pollster::block_on(case.check_large(device));
    let outcome = checked.and_then(|()| timing::time(device, &case, effort));
    let outcome = match outcome {
        Ok(timing) => Outcome::Timed(Timed::new(timing, case.bytes, case.operations, limit)),
        Err(error @ Error::Limit { .. }) => Outcome::NotRun { not_run: error.to_string() },
        Err(error) => Outcome::Wrong { wrong: error.to_string() },
    };
    Row::new(large, outcome)
}
