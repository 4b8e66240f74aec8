//! Times bitsmith's CPU kernels beside candle's and gemm's, in turns, on the same shapes. See `benches/README.md`.

mod candle;
mod dense;
mod measure;
mod ours;
mod products;
mod quantizers;
mod report;
mod targets;

use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Parser;

use measure::Effort;
use report::{Report, Run};

/// Times bitsmith beside other crates
#[derive(Debug, Parser)]
struct Options {
    /// Numbers of threads, as 1,4; default: one and all
    #[arg(long, value_delimiter = ',')]
    threads: Vec<usize>,
    /// Only groups whose name contains this
    #[arg(long, default_value = "")]
    filter: String,
    /// A small shape and few repetitions: shows that everything runs, not how fast
    #[arg(long)]
    quick: bool,
    /// Also write the results to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// One number of threads in a process of its own: candle's pool is set once
    #[arg(long, hide = true)]
    child: bool,
}

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let options = Options::parse();
    if options.child {
        return child(&options);
    }
    let all = std::thread::available_parallelism()?.get();
    let mut threads = options.threads.clone();
    if threads.is_empty() {
        threads = vec![1, all];
        threads.dedup();
    }
    let mut runs = threads.into_iter().map(|n| in_child(&options, n)).collect::<Outcome<Vec<_>>>()?;
    if let [one, .., all] = &mut runs[..] {
        all.targets.extend(targets::scaling(one, all));
    }
    let report = Report::new(options.quick, runs);
    print!("{}", report.markdown());
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    Ok(())
}

/// Measures with `threads` threads in a new process.
fn in_child(options: &Options, threads: usize) -> Outcome<Run> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--child").args(["--threads", &threads.to_string(), "--filter", &options.filter]);
    if options.quick {
        command.arg("--quick");
    }
    let output = command.env("RAYON_NUM_THREADS", threads.to_string()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("the run with {threads} threads failed: {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn child(options: &Options) -> Outcome<()> {
    let threads = options.threads.first().copied().unwrap_or(1);
    let effort = Effort::new(options.quick);
    let wanted = |name: &str| name.contains(&options.filter);
    let mut run = Run { threads, groups: Vec::new(), targets: Vec::new() };
    products::measure(&effort, threads, &wanted, &mut run.groups)?;
    quantizers::measure(&effort, &wanted, &mut run.groups)?;
    run.targets = targets::judge(&run.groups, threads);
    serde_json::to_writer(std::io::stdout().lock(), &run)?;
    Ok(())
}
