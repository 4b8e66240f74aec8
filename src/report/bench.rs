//! Benches as Markdown, each complete in itself: it says what ran where and when.

use std::fmt::Write as _;

use super::markdown::Markdown;
use super::number::{bytes, estimate, value};
use crate::bench::{Comparison, DeviceBench, KernelBench, ModelBench, Outcome, Pipelines, Row, Speed};

/// The kernels of one device of a bench.
pub fn kernel_bench(bench: &KernelBench, device: &DeviceBench) -> String {
    let DeviceBench { name, backend, driver, threads, copy, pipelines, rows, .. } = device;
    let threads = threads.map_or(String::new(), |threads| format!(" · {}", counted(threads, "thread")));
    let KernelBench { bitsmith, date, scale, .. } = bench;
    let mut text =
        format!("**{name}** · {backend}{threads} · {driver} · bitsmith {bitsmith} · {date} · {scale} sizes\n\n");
    let sum = copy.sum_gb_s.map_or(String::new(), |sum| format!("; a sum, which only reads, makes {sum:.1} GB/s"));
    let size = bytes(copy.bytes as u64);
    let _ = writeln!(text, "Copy: {:.1} GB/s, {} of {size}, read and written bytes counted{sum}.", copy.gb_s, copy.by);
    if let Some(pipelines) = pipelines {
        let _ = writeln!(text, "Pipelines: {}.", self::pipelines(*pipelines));
    }
    let titles = ["kernel", "variant<", "size<", "µs", "GB/s", "of copy", "GFLOP/s", "x dense f32", "x dense f16"];
    let mut table = Markdown::new(titles);
    rows.iter().for_each(|row| table.row(cells(row)));
    let _ = writeln!(text, "\n{table}");
    text
}

/// A number with what it counts.
fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn cells(row: &Row) -> Vec<String> {
    let mut cells = vec![row.kernel.to_owned(), row.variant.clone(), row.size.clone()];
    match &row.outcome {
        Outcome::Timed(timed) => {
            let or_empty = |value: Option<f64>, digits: usize| value.map_or(String::new(), |v| format!("{v:.digits$}"));
            cells.extend([
                format!("{:.1}", timed.seconds * 1e6),
                format!("{:.1}", timed.gb_s),
                format!("{:.0} %", timed.share_of_copy * 100.0),
                or_empty(timed.gflop_s, 1),
                or_empty(timed.times_dense_f32, 2),
                or_empty(timed.times_dense_f16, 2),
            ]);
        }
        Outcome::NotRun { not_run } => cells.push(format!("not run: {not_run}")),
        Outcome::Wrong { wrong } => cells.push(format!("WRONG: {wrong}")),
    }
    cells
}

fn pipelines(Pipelines { created, while_timed }: Pipelines) -> String {
    format!("{created} created, each at its first use, {while_timed} while something was timed")
}

/// One model, or two and their ratio; with `kernels` also what each kernel takes of a token.
pub fn model_bench(bench: &Comparison, kernels: bool) -> String {
    let mut text = String::new();
    let Comparison { bitsmith, date, processor, models, .. } = bench;
    for model in models {
        let ModelBench { device, driver, .. } = model;
        let threads = if model.threads.is_some() { format!(" · {processor}") } else { String::new() };
        let line = format!("**{}** on {device}{threads} · {driver} · bitsmith {bitsmith} · {date}", name(model));
        let _ = writeln!(text, "{line}");
        if let Some(pipelines) = model.pipelines {
            let _ = writeln!(text, "Pipelines: {}.", self::pipelines(pipelines));
        }
    }
    let _ = writeln!(text, "\n{}", measures(bench));
    if kernels {
        let _ = writeln!(text, "{}", shares(models));
    }
    text
}

fn name(model: &ModelBench) -> String {
    model.model.file_name().map_or_else(|| model.model.display().to_string(), |name| name.display().to_string())
}

fn measures(bench: &Comparison) -> Markdown {
    let models = &bench.models;
    let ratios = bench.ratios.as_ref();
    let second = ratios.map(|_| "second / first".to_owned());
    let mut table = Markdown::new(std::iter::once(String::new()).chain(models.iter().map(name)).chain(second));
    let mut line = |title: String, cell: &dyn Fn(&ModelBench) -> String, ratio: Option<f64>| {
        let ratio = ratio.map(|ratio| format!("{ratio:.3}"));
        table.row(std::iter::once(title).chain(models.iter().map(cell)).chain(ratio));
    };
    let unknown = || "not measured".to_owned();
    line("weights in files".into(), &|m| bytes(m.disk_bytes), ratios.map(|r| r.disk_bytes));
    line("weights on the device".into(), &|m| bytes(m.weight_bytes), ratios.map(|r| r.weight_bytes));
    let ratio = ratios.map(|r| r.peak_device_bytes);
    line("peak buffer memory".into(), &|m| bytes(m.peak_device_bytes), ratio);
    let resident = |m: &ModelBench| m.peak_resident_bytes.map_or_else(unknown, bytes);
    line("peak resident memory".into(), &resident, ratios.and_then(|r| r.peak_resident_bytes));
    line("time to load".into(), &|m| format!("{:.1} ms", m.load_seconds * 1e3), ratios.map(|r| r.load_seconds));
    if let Some(lengths) = models.first().map(|m| m.lengths) {
        let title = format!("prompt of {}, tokens/s", lengths.prompt);
        line(title, &|m| speed(&m.prompt), ratios.map(|r| r.prompt_tokens_per_second));
        let title = format!("{} generated, tokens/s", lengths.decode);
        line(title, &|m| speed(&m.decode), ratios.map(|r| r.decode_tokens_per_second));
    }
    line("submissions a token".into(), &|m| format!("{}", m.submissions_per_token), None);
    line("dispatches a token".into(), &|m| format!("{}", m.dispatches_per_token), None);
    let overhead = |m: &ModelBench| m.overhead.map_or_else(unknown, |overhead| format!("{overhead:.2}"));
    line("time a token / its kernels".into(), &overhead, None);
    if models.iter().any(|m| m.quality.is_some()) {
        let quality =
            |m: &ModelBench| m.quality.as_ref().map_or_else(unknown, |q| estimate(q.perplexity, q.perplexity_error));
        line("perplexity".into(), &quality, ratios.and_then(|r| r.perplexity));
        let scored = |m: &ModelBench| {
            m.quality.as_ref().map_or_else(unknown, |q| format!("{} in windows of {}", q.tokens_scored, q.window))
        };
        line("tokens scored".into(), &scored, None);
    }
    table
}

/// The median and the range of all runs.
fn speed(speed: &Speed) -> String {
    let Speed { tokens_per_second, slowest, fastest, runs } = speed;
    format!("{} ({} to {}, {runs} runs)", rate(*tokens_per_second), rate(*slowest), rate(*fastest))
}

/// A rate with at least three digits.
fn rate(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.2}") } else { format!("{rate:.0}") }
}

fn shares(models: &[ModelBench]) -> Markdown {
    let titles = models.iter().flat_map(|m| ["dispatches".to_owned(), format!("µs, {}", name(m)), "share".to_owned()]);
    let mut table = Markdown::new(std::iter::once("kernel".to_owned()).chain(titles));
    let mut kernels: Vec<&str> = Vec::new();
    for share in models.iter().flat_map(|m| &m.kernels) {
        if !kernels.contains(&share.kernel.as_str()) {
            kernels.push(&share.kernel);
        }
    }
    for kernel in kernels {
        let cells = models.iter().flat_map(|m| match m.kernels.iter().find(|share| share.kernel == kernel) {
            Some(share) => {
                [format!("{}", share.dispatches), value(share.seconds * 1e6), format!("{:.1} %", share.share * 100.0)]
            }
            None => [const { String::new() }; 3],
        });
        table.row(std::iter::once(kernel.to_owned()).chain(cells));
    }
    table
}
