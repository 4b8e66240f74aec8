//! Which layer gets which scheme, as a pure function of what each would cost.

use super::knapsack::{self, Choice};
use crate::error::{Error, Result};
use crate::scheme::{Plan, Scheme};

/// A scheme that a layer could get.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The scheme.
    pub scheme: Scheme,
    /// Bytes that the layer takes then: codes, scales, zero points.
    pub bytes: u64,
    /// What it costs, in any unit that adds up over layers, such as nats a token. One that is not finite is never taken.
    pub loss: f64,
}

/// A layer and the schemes that it could get.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerCandidates {
    /// Module path.
    pub path: String,
    /// What it could get, in any order.
    pub candidates: Vec<Candidate>,
}

/// A scheme for every layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation {
    /// For each layer the index of its candidate.
    pub choice: Vec<usize>,
    /// Bytes of all layers.
    pub bytes: u64,
    /// Losses of all layers, added up.
    pub loss: f64,
    /// Whether it is proven that nothing is better. If not, it is the best that was found.
    pub exact: bool,
}

impl Allocation {
    /// The plan that it is for these layers, which must be those that it was made of.
    pub fn plan(&self, layers: &[LayerCandidates]) -> Plan {
        let chosen = layers.iter().zip(&self.choice);
        chosen.map(|(layer, index)| (layer.path.as_str(), layer.candidates[*index].scheme)).collect()
    }
}

/// Finds the plan with the least loss within a number of bytes, or with the fewest bytes within a loss.
///
/// The search is exact dynamic programming: it follows, layer by layer, the partial plans that could still become the best one
/// (Lagrange's bound rules the others out). If they are more than 65536 at some layer, or 8 million in all, the rest is left
/// out, and [`Allocation::exact`] is false: then the plan is the best that was found. A thousand layers with twenty candidates
/// each were solved exactly within half a second, for every budget that was tried.
///
/// ```
/// use bitsmith::search::{Candidate, LayerCandidates, PrecisionOptimizer};
/// let candidate = |scheme: &str, bytes, loss| Candidate { scheme: scheme.parse().unwrap(), bytes, loss };
/// let layer = |path: &str, loss| LayerCandidates {
///     path: path.into(),
///     candidates: vec![candidate("w8g32s", 800, 0.0), candidate("w4g32s", 400, loss), candidate("w2g32s", 200, 9.0 * loss)],
/// };
/// let layers = [layer("a", 0.01), layer("b", 0.03)];
/// let optimizer = PrecisionOptimizer::new(&layers, &[])?;
/// let plan = optimizer.within_loss(0.1)?.plan(&layers);
/// assert_eq!((plan.get("a"), plan.get("b")), (Some("w4g32s".parse()?), Some("w4g32s".parse()?)));
/// let plan = optimizer.within_bytes(1200)?.plan(&layers);
/// assert_eq!((plan.get("a"), plan.get("b")), (Some("w4g32s".parse()?), Some("w8g32s".parse()?)));
/// assert!(optimizer.within_bytes(399).unwrap_err().to_string().contains("400"));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct PrecisionOptimizer<'a> {
    layers: &'a [LayerCandidates],
    items: Vec<Item>,
}

/// Layers that get one scheme.
#[derive(Debug)]
struct Item {
    members: Vec<usize>,
    /// Those of which none is better than another in both respects, from few bytes to many.
    options: Vec<Choices>,
}

/// What the members of an item choose.
#[derive(Clone, Debug)]
struct Choices {
    bytes: u64,
    loss: f64,
    of: Vec<usize>,
}

impl<'a> PrecisionOptimizer<'a> {
    /// For these layers; each of `ties` lists layers, by index, that must get the same scheme.
    ///
    /// # Errors
    /// [`Error::Config`] for a layer that can get nothing, for tied layers that share no scheme, and for ties that name a layer
    /// twice or none.
    pub fn new(layers: &'a [LayerCandidates], ties: &[Vec<usize>]) -> Result<Self> {
        let mut tied = vec![false; layers.len()];
        for index in ties.iter().flatten() {
            match tied.get_mut(*index) {
                Some(seen) if !*seen => *seen = true,
                Some(_) => {
                    return Err(Error::config("ties", format!("{} is tied twice", layers[*index].path)));
                }
                None => return Err(Error::config("ties", format!("there is no layer {index}"))),
            }
        }
        let alone = (0..layers.len()).filter(|index| !tied[*index]).map(|index| vec![index]);
        let mut groups: Vec<Vec<usize>> = ties.iter().filter(|tie| !tie.is_empty()).cloned().chain(alone).collect();
        groups.sort_by_key(|members| members[0]);
        let items = groups.into_iter().map(|members| Item::new(layers, members)).collect::<Result<_>>()?;
        Ok(Self { layers, items })
    }

    /// The least loss with at most so many bytes.
    ///
    /// # Errors
    /// [`Error::Config`] that names the fewest bytes that are possible.
    #[allow(clippy::cast_precision_loss, reason = "sums of bytes are exact up to 2^53")]
    pub fn within_bytes(&self, bytes: u64) -> Result<Allocation> {
        let choice = |option: &Choices| Choice { weight: option.bytes as f64, cost: option.loss };
        let items: Vec<Vec<Choice>> = self.items.iter().map(|item| item.options.iter().map(choice).collect()).collect();
        match knapsack::least_cost(&items, bytes as f64) {
            Some(solved) => Ok(self.allocation(solved.picks.into_iter(), solved.exact)),
            None => {
                let least = self.fewest_bytes().bytes;
                let detail = format!("{bytes} bytes hold no plan; the nearest possible is {least}");
                Err(Error::config("target", detail))
            }
        }
    }

    /// The fewest bytes with at most so much loss.
    ///
    /// # Errors
    /// [`Error::Config`] that names the least loss that is possible.
    #[allow(clippy::cast_precision_loss, reason = "sums of bytes are exact up to 2^53")]
    pub fn within_loss(&self, loss: f64) -> Result<Allocation> {
        let choice = |option: &Choices| Choice { weight: option.loss, cost: option.bytes as f64 };
        let items: Vec<Vec<Choice>> =
            self.items.iter().map(|item| item.options.iter().rev().map(choice).collect()).collect();
        match knapsack::least_cost(&items, loss) {
            Some(solved) => {
                let picks = solved.picks.into_iter().zip(&self.items).map(|(pick, item)| item.options.len() - 1 - pick);
                Ok(self.allocation(picks, solved.exact))
            }
            None => {
                let least = self.least_loss().loss;
                Err(Error::config(
                    "budget",
                    format!("a loss of {loss} is below every plan's; the nearest possible is {least}"),
                ))
            }
        }
    }

    /// The plan with the fewest bytes.
    pub fn fewest_bytes(&self) -> Allocation {
        self.allocation(self.items.iter().map(|_| 0), true)
    }

    /// The plan with the least loss.
    pub fn least_loss(&self) -> Allocation {
        self.allocation(self.items.iter().map(|item| item.options.len() - 1), true)
    }

    /// The plan of one option for each item.
    fn allocation(&self, picks: impl Iterator<Item = usize>, exact: bool) -> Allocation {
        let mut found = Allocation { choice: vec![0; self.layers.len()], bytes: 0, loss: 0.0, exact };
        for (item, pick) in self.items.iter().zip(picks) {
            let option = &item.options[pick];
            found.bytes += option.bytes;
            // In the order in which the solver compares sums: another could be above the budget by a rounding.
            found.loss += option.loss;
            for (member, of) in item.members.iter().zip(&option.of) {
                found.choice[*member] = *of;
            }
        }
        found
    }
}

impl Item {
    fn new(layers: &[LayerCandidates], members: Vec<usize>) -> Result<Self> {
        let usable = |layer: usize| {
            let all = layers[layer].candidates.iter().enumerate();
            all.filter(|(_, candidate)| candidate.loss.is_finite())
        };
        let (first, rest) = (members[0], &members[1..]);
        let mut options: Vec<Choices> = usable(first)
            .filter_map(|(index, candidate)| {
                let mut all = Choices { bytes: candidate.bytes, loss: candidate.loss, of: vec![index] };
                for member in rest {
                    let (index, same) = usable(*member).find(|(_, other)| other.scheme == candidate.scheme)?;
                    all.bytes += same.bytes;
                    all.loss += same.loss;
                    all.of.push(index);
                }
                Some(all)
            })
            .collect();
        options.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(a.loss.total_cmp(&b.loss)));
        let mut least = f64::INFINITY;
        options.retain(|option| {
            let better = option.loss < least;
            least = least.min(option.loss);
            better
        });
        if options.is_empty() {
            let names = members.iter().map(|member| layers[*member].path.as_str()).collect::<Vec<_>>().join(", ");
            let detail = format!("{names}: there is no scheme that all of them can get with a finite loss");
            return Err(Error::config("bits_ladder", detail));
        }
        Ok(Self { members, options })
    }
}
