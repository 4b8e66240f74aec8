//! What bitsmith wants to reach beside its peers.

use bitsmith::Dtype;
use serde::{Deserialize, Serialize};

use crate::measure::Group;
use crate::ours::Precision;
use crate::report::Run;
use crate::{dense, products, quantizers};

/// A ratio and the least it should be.
#[derive(Debug, Serialize, Deserialize)]
pub struct Target {
    pub name: String,
    pub measured: f64,
    pub wanted: f64,
    pub met: bool,
}

impl Target {
    fn new(name: impl Into<String>, measured: f64, wanted: f64) -> Self {
        Self { name: name.into(), measured, wanted, met: measured >= wanted }
    }
}

/// The targets that the measured groups of one run tell something about. Those of products with one row are for one
/// thread; they are shown for several too.
pub fn judge(groups: &[Group], threads: usize) -> Vec<Target> {
    let group = |name: &str| groups.iter().find(|g| g.name == name);
    let mut found: Vec<Target> = Precision::ALL.into_iter().flat_map(|precision| one_row(groups, precision)).collect();
    if let Some(g) = group(&products::name(4, 512)) {
        found.extend(ratio(g, "bitsmith w4g128s", dense::GEMM, 0.8));
        found.extend(ratio(g, "bitsmith w4g128s int8", "candle q4k", 1.0));
    }
    for scheme in ["bitsmith w4g128s", "bitsmith w4g128s int8"] {
        found.extend(no_cliff(groups, scheme));
    }
    // candle quantizes with one thread whatever there is.
    for (dtype, scheme, theirs) in QUANTIZERS.into_iter().filter(|_| threads == 1) {
        if let Some(g) = group(&quantizers::name(dtype, scheme)) {
            found.extend(ratio(g, &format!("bitsmith {scheme}"), theirs, 2.0));
        }
    }
    found
}

/// The targets of products with one row of activations that enter in one of two ways.
fn one_row(groups: &[Group], precision: Precision) -> Vec<Target> {
    let of = |bits: u8| groups.iter().find(|g| g.name == products::name(bits, 1));
    let name = |bits: u8| format!("bitsmith w{bits}g128s{}", precision.label());
    let mut found = Vec::new();
    for (bits, theirs, wanted) in [(4, "candle q4k", 1.7), (8, "candle q8_0", 1.5)] {
        found.extend(of(bits).and_then(|g| ratio(g, &name(bits), theirs, wanted)));
    }
    let of_sum = |g| share(g, &name(4), dense::SUM, "the plain sum", 0.6);
    found.extend(of(4).and_then(of_sum));
    for bits in [3, 2] {
        let of_four = |g| share(g, &name(bits), &name(4), "4 bits", 0.75);
        found.extend(of(bits).and_then(of_four));
    }
    found
}

/// The bytes a second of a peer by those of another one.
fn share(g: &Group, ours: &str, other: &str, label: &str, wanted: f64) -> Option<Target> {
    let (own, other) = (g.peer(ours)?, g.peer(other)?);
    let share = own.times_faster(other) * own.bytes as f64 / other.bytes as f64;
    Some(Target::new(format!("{}: {ours}, bytes a second of those of {label}", g.name), share, wanted))
}

/// What quantizes what, and candle's fastest format of the width.
const QUANTIZERS: [(Dtype, &str, &str); 4] = [
    (Dtype::F32, "w4g128s", "candle q4_0"),
    (Dtype::F32, "w8g128s", "candle q8_0"),
    (Dtype::Bf16, "w4g128s", "candle q4_0"),
    (Dtype::Bf16, "w8g128s", "candle q8_0"),
];

/// How quantizing gains from threads: of two runs, the speed of the second by that of the first.
pub fn scaling(one: &Run, all: &Run) -> Vec<Target> {
    let median =
        |run: &Run, name: &str, peer: &str| Some(run.groups.iter().find(|g| g.name == name)?.peer(peer)?.median());
    let gain = |(dtype, scheme, _)| {
        let (name, peer) = (quantizers::name(dtype, scheme), format!("bitsmith {scheme}"));
        let gain = median(one, &name, &peer)? / median(all, &name, &peer)?;
        // Half of what threads could give at most: they share the memory.
        let wanted = all.threads as f64 / one.threads as f64 / 2.0;
        Some(Target::new(format!("{name}: gain by {} threads for {}", all.threads, one.threads), gain, wanted))
    };
    QUANTIZERS.into_iter().filter_map(gain).collect()
}

/// The fastest of a peer's ways counts.
fn ratio(g: &Group, ours: &str, theirs: &str, wanted: f64) -> Option<Target> {
    let own = g.peer(ours)?;
    let ways = [theirs.to_owned(), format!("{theirs} as stored"), format!("{theirs} turned")];
    let best = ways.iter().filter_map(|way| g.peer(way)).map(|way| own.times_faster(way)).min_by(f64::total_cmp)?;
    Some(Target::new(format!("{}: {ours} by {theirs}", g.name), best, wanted))
}

/// The least that a larger batch speeds up a row, over all neighbours.
fn no_cliff(groups: &[Group], peer: &str) -> Option<Target> {
    let per_row = |batch: usize| {
        let group = groups.iter().find(|g| g.name == products::name(4, batch))?;
        Some(group.peer(peer)?.median() / batch as f64)
    };
    let steps = products::BATCHES.windows(2).map(|pair| Some(per_row(pair[0])? / per_row(pair[1])?));
    let least = steps.collect::<Option<Vec<f64>>>()?.into_iter().min_by(f64::total_cmp)?;
    Some(Target::new(format!("{peer}: gain a row from one batch to the next, at least"), least, 1.0))
}
