//! Results as Markdown and JSON.

use serde::{Deserialize, Serialize};

use crate::measure::{Effort, Group};
use crate::targets::Target;

#[derive(Debug, Serialize)]
pub struct Report {
    processor: String,
    last_level_cache: Option<String>,
    working_set_bytes: usize,
    shape: [usize; 2],
    quick: bool,
    runs: Vec<Run>,
}

/// All that was measured with one number of threads.
#[derive(Debug, Serialize, Deserialize)]
pub struct Run {
    pub threads: usize,
    pub groups: Vec<Group>,
    pub targets: Vec<Target>,
}

impl Report {
    pub fn new(quick: bool, runs: Vec<Run>) -> Self {
        let Effort { shape, working_set, .. } = Effort::new(quick);
        let (processor, last_level_cache) = (processor(), last_level_cache());
        Self { processor, last_level_cache, working_set_bytes: working_set, shape, quick, runs }
    }

    pub fn markdown(&self) -> String {
        let [rows, cols] = self.shape;
        let mut text = format!(
            "{}. Weight {rows}x{cols}. Each peer takes turns on copies of its weight that fill {} MiB; the last-level cache \
             holds {}.\n",
            self.processor,
            self.working_set_bytes >> 20,
            self.last_level_cache.as_deref().unwrap_or("an unknown amount"),
        );
        if self.quick {
            text += "\nSmall sizes: no figure means anything.\n";
        }
        for run in &self.runs {
            let threads = if run.threads == 1 { "One thread".into() } else { format!("{} threads", run.threads) };
            text += &format!("\n### {threads}\n\n");
            text += "| work | peer | ms | GB/s | GFLOP/s | error | speed of the first to it |\n";
            text += "|---|---|--:|--:|--:|--:|--:|\n";
            for group in &run.groups {
                for times in &group.times {
                    let gflop = group.operations / times.median() / 1e9;
                    text += &format!(
                        "| {} | {} | {:.3} | {:.2} | {} | {} | {:.2} |\n",
                        group.name,
                        times.peer,
                        times.median() * 1e3,
                        times.gb_s(),
                        if group.operations > 0.0 && times.error.is_some() {
                            format!("{gflop:.1}")
                        } else {
                            String::new()
                        },
                        times.error.map_or(String::new(), |e| format!("{:.3} %", e * 100.0)),
                        group.times[0].times_faster(times),
                    );
                }
            }
            text += "\n| target | measured | wanted | |\n|---|--:|--:|---|\n";
            for Target { name, measured, wanted, met } in &run.targets {
                let met = if *met { "met" } else { "missed" };
                text += &format!("| {name} | {measured:.2} | {wanted:.2} | {met} |\n");
            }
        }
        text
    }
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|l| l.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {cores} of its cores", model.unwrap_or(std::env::consts::ARCH))
}

fn last_level_cache() -> Option<String> {
    let size = |level| std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{level}/size")).ok();
    (0..8).rev().find_map(size).map(|s| s.trim().to_owned())
}
