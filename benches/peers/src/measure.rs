//! Times of several ways to do the same, taken in turns, so that a busy machine slows all of them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Outcome;

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rows and columns of the weight.
    pub shape: [usize; 2],
    /// Each peer takes turns on as many copies of its weight as fill this, so that no cache holds them.
    pub working_set: usize,
    /// Rounds over all peers, unless they take too long.
    rounds: usize,
    /// Seconds that one peer's calls in one round should take.
    sample: f64,
    /// Seconds of all rounds of a group.
    patience: f64,
}

/// Fewest rounds: a median of fewer says little.
const FEWEST: usize = 3;
/// Before each sample; pools that spin for work go to sleep meanwhile.
const PAUSE: Duration = Duration::from_millis(3);

impl Effort {
    pub fn new(quick: bool) -> Self {
        match quick {
            false => Self { shape: [4096, 14336], working_set: 512 << 20, rounds: 15, sample: 0.03, patience: 20.0 },
            true => Self { shape: [256, 1024], working_set: 4 << 20, rounds: 3, sample: 0.002, patience: 1.0 },
        }
    }

    /// Copies of something of so many bytes.
    pub fn copies(&self, bytes: usize) -> usize {
        self.working_set.div_ceil(bytes.max(1)).clamp(1, 64)
    }
}

/// One way to do it. Called with true it also returns the first row of the result.
pub struct Peer<'a> {
    pub name: String,
    /// Bytes that a call reads at least.
    pub bytes: usize,
    pub call: Box<dyn FnMut(bool) -> Outcome<Vec<f32>> + 'a>,
}

impl<'a> Peer<'a> {
    pub fn new(name: impl Into<String>, bytes: usize, call: impl FnMut(bool) -> Outcome<Vec<f32>> + 'a) -> Self {
        Self { name: name.into(), bytes, call: Box::new(call) }
    }
}

/// Peers that were timed together.
#[derive(Debug, Serialize, Deserialize)]
pub struct Group {
    pub name: String,
    /// Rows of activations; 0 where there are none.
    pub batch: usize,
    /// Multiplications and additions of a call.
    pub operations: f64,
    pub times: Vec<Times>,
}

/// What one peer took.
#[derive(Debug, Serialize, Deserialize)]
pub struct Times {
    pub peer: String,
    pub bytes: usize,
    /// Seconds a call, one value a round.
    pub seconds: Vec<f64>,
    /// Of the first row of the result, relative to the product with the weight before it was quantized.
    pub error: Option<f64>,
}

impl Times {
    pub fn median(&self) -> f64 {
        median(self.seconds.iter().copied())
    }

    pub fn gb_s(&self) -> f64 {
        self.bytes as f64 / self.median() / 1e9
    }

    /// How many times faster this is than `other`: the median over the rounds.
    pub fn times_faster(&self, other: &Self) -> f64 {
        median(self.seconds.iter().zip(&other.seconds).map(|(own, other)| other / own))
    }
}

impl Group {
    pub fn peer(&self, name: &str) -> Option<&Times> {
        self.times.iter().find(|t| t.peer == name)
    }
}

/// Calls the peers in turns. `exact` is the first row that they should find.
pub fn take_turns(
    name: String,
    (batch, operations): (usize, f64),
    mut peers: Vec<Peer<'_>>,
    exact: Option<&[f32]>,
    effort: &Effort,
) -> Outcome<Group> {
    eprintln!("{name}");
    let mut times = Vec::new();
    let mut calls = Vec::new();
    for peer in &mut peers {
        let row = (peer.call)(true)?;
        let error = exact.filter(|_| !row.is_empty()).map(|exact| relative_error(&row, exact));
        // The second call finds everything laid out and every thread started.
        let each = seconds(1, peer)?;
        calls.push(((effort.sample / each) as usize).clamp(1, 10_000));
        times.push(Times { peer: peer.name.clone(), bytes: peer.bytes, seconds: Vec::new(), error });
    }
    let start = Instant::now();
    for round in 0..effort.rounds {
        if round >= FEWEST && start.elapsed().as_secs_f64() > effort.patience {
            break;
        }
        for ((peer, calls), times) in peers.iter_mut().zip(&calls).zip(&mut times) {
            times.seconds.push(seconds(*calls, peer)?);
        }
    }
    Ok(Group { name, batch, operations, times })
}

/// Seconds of a call, on the average of several.
fn seconds(calls: usize, peer: &mut Peer<'_>) -> Outcome<f64> {
    std::thread::sleep(PAUSE);
    let start = Instant::now();
    for _ in 0..calls {
        (peer.call)(false)?;
    }
    Ok(start.elapsed().as_secs_f64() / calls as f64)
}

fn relative_error(found: &[f32], exact: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let noise: f64 = found.iter().zip(exact).map(|(f, e)| square(f - e)).sum();
    (noise / exact.iter().map(|e| square(*e)).sum::<f64>()).sqrt()
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
