//! The choice of one of several for each of many items, with the least cost within a capacity: a knapsack problem with multiple
//! choices. Solved by dynamic programming over partial choices of which none is better than another in both cost and weight.
//! Those that provably lead to nothing better than what is known are left out: with a price for weight, a choice costs at least
//! what the cheapest costs at that price, and the cheapest of all items together bound every solution from below.

/// One of the choices of an item.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// What it takes of the capacity.
    pub(super) weight: f64,
    /// What is to be small.
    pub(super) cost: f64,
}

/// One choice for each item.
#[derive(Debug)]
pub(super) struct Solved {
    pub(super) picks: Vec<usize>,
    /// Whether it is proven to be the best.
    pub(super) exact: bool,
}

/// Partial choices that are followed at once: first few, for a good solution that bounds the next search, then many.
const WIDTHS: [usize; 3] = [1 << 8, 1 << 12, 1 << 16];
/// Partial choices that are remembered in all.
const MEMORY: usize = 1 << 23;
/// Bounds are sums of rounded products: what is within this share of their terms is not told apart.
const SLACK: f64 = 1e-12;

/// The choices with the least cost, among items whose choices go up in weight and down in cost; none if even the lightest do
/// not fit. Weights are added up in the order of the items.
pub(super) fn least_cost(items: &[Vec<Choice>], capacity: f64) -> Option<Solved> {
    let lightest = vec![0; items.len()];
    let cheapest: Vec<usize> = items.iter().map(|choices| choices.len() - 1).collect();
    let fits = |picks: &[usize]| sum(items, picks, |choice| choice.weight) <= capacity;
    if !fits(&lightest) {
        return None;
    }
    if fits(&cheapest) {
        return Some(Solved { picks: cheapest, exact: true });
    }
    let (price, filled) = relaxed(items, capacity);
    let mut best = if fits(&filled) { filled } else { lightest };
    let search = Search::new(items, capacity, price);
    let most = items.iter().map(Vec::len).max().unwrap_or(1);
    let memory = (MEMORY / items.len()).min(u32::MAX as usize / most).max(1);
    for width in WIDTHS {
        let complete = search.improve(&mut best, width.min(memory));
        if complete {
            return Some(Solved { picks: best, exact: true });
        }
    }
    Some(Solved { picks: best, exact: false })
}

fn sum(items: &[Vec<Choice>], picks: &[usize], of: impl Fn(&Choice) -> f64) -> f64 {
    items.iter().zip(picks).map(|(choices, pick)| of(&choices[*pick])).sum()
}

/// The price of weight at which the capacity is used up if choices may be mixed, and the choices that are reached by going up
/// where it saves most for its weight.
fn relaxed(items: &[Vec<Choice>], capacity: f64) -> (f64, Vec<usize>) {
    struct Rise {
        item: usize,
        from: usize,
        to: usize,
        weight: f64,
        worth: f64,
    }
    let mut rises: Vec<Rise> = Vec::new();
    for (item, choices) in items.iter().enumerate() {
        let worth = |from: usize, to: usize| {
            let (from, to): (&Choice, &Choice) = (&choices[from], &choices[to]);
            (from.cost - to.cost) / (to.weight - from.weight)
        };
        // The lower convex hull: each rise is worth less than the one before.
        let mut hull = vec![0];
        for next in 1..choices.len() {
            while let [.., before, last] = hull[..]
                && worth(last, next) >= worth(before, last)
            {
                hull.pop();
            }
            hull.push(next);
        }
        rises.extend(hull.windows(2).map(|pair| {
            let (from, to) = (pair[0], pair[1]);
            Rise { item, from, to, weight: choices[to].weight - choices[from].weight, worth: worth(from, to) }
        }));
    }
    rises.sort_by(|a, b| b.worth.total_cmp(&a.worth));
    let mut picks = vec![0; items.len()];
    let (mut used, mut price) = (sum(items, &picks, |choice| choice.weight), None);
    for rise in rises {
        if picks[rise.item] != rise.from {
            continue;
        }
        if used + rise.weight <= capacity {
            used += rise.weight;
            picks[rise.item] = rise.to;
        } else {
            price.get_or_insert(rise.worth);
        }
    }
    // Any price gives a bound.
    (price.filter(|price| price.is_finite()).unwrap_or(0.0), picks)
}

/// Choices for the first items.
#[derive(Clone, Copy)]
struct State {
    weight: f64,
    cost: f64,
    /// How much dearer it is than the cheapest choices at the price of weight.
    excess: f64,
    /// Where it is remembered.
    node: u32,
}

struct Search<'a> {
    items: &'a [Vec<Choice>],
    capacity: f64,
    price: f64,
    /// For each item, how much dearer a choice is at the price than the cheapest.
    excess: Vec<Vec<f64>>,
    /// No solution costs less.
    bound: f64,
    /// What bounds may be wrong by.
    slack: f64,
    /// For each item, the weights of the lightest choices of it and those after it.
    lightest: Vec<f64>,
    /// The same of the heaviest.
    heaviest: Vec<f64>,
}

impl<'a> Search<'a> {
    fn new(items: &'a [Vec<Choice>], capacity: f64, price: f64) -> Self {
        let priced = |choice: &Choice| choice.cost + price * choice.weight;
        let (mut excess, mut bound, mut size) = (Vec::with_capacity(items.len()), 0.0, 0.0);
        for choices in items {
            let least = choices.iter().map(priced).fold(f64::INFINITY, f64::min);
            let largest = choices.iter().map(|choice| choice.cost.abs() + price * choice.weight.abs());
            size += largest.fold(0.0, f64::max);
            bound += least;
            excess.push(choices.iter().map(|choice| priced(choice) - least).collect());
        }
        let rest = |of: fn(&Vec<Choice>) -> f64| {
            let mut sums = vec![0.0; items.len() + 1];
            for (i, choices) in items.iter().enumerate().rev() {
                sums[i] = sums[i + 1] + of(choices);
            }
            sums
        };
        Self {
            items,
            capacity,
            price,
            excess,
            bound: bound - price * capacity,
            slack: SLACK * (size + price * capacity.abs()),
            lightest: rest(|choices| choices[0].weight),
            heaviest: rest(|choices| choices[choices.len() - 1].weight),
        }
    }

    /// Replaces the best known choices by better ones if it finds them, following so many partial choices at once. Whether
    /// nothing that could be better was left out.
    fn improve(&self, best: &mut [usize], width: usize) -> bool {
        let mut least = sum(self.items, best, |choice| choice.cost);
        let roundings = SLACK * (self.capacity.abs() + self.heaviest[0].abs() + self.lightest[0].abs());
        let (mut nodes, mut complete): (Vec<(u32, usize)>, bool) = (Vec::new(), true);
        let mut states = vec![State { weight: 0.0, cost: 0.0, excess: 0.0, node: 0 }];
        let mut next: Vec<State> = Vec::new();
        let mut parents = Vec::new();
        for (i, choices) in self.items.iter().enumerate() {
            next.clear();
            parents.clear();
            let room = least - self.bound + self.slack;
            for state in &states {
                for (pick, choice) in choices.iter().enumerate() {
                    let (weight, excess) = (state.weight + choice.weight, state.excess + self.excess[i][pick]);
                    // Capacity that nothing can use is paid for all the same.
                    let idle = (self.capacity - weight - self.heaviest[i + 1]).max(0.0);
                    let fits = weight + self.lightest[i + 1] <= self.capacity + roundings;
                    if fits && excess + self.price * idle <= room {
                        let node = u32::try_from(parents.len()).expect("the width times the choices is less than 2^32");
                        parents.push((state.node, pick));
                        next.push(State { weight, cost: state.cost + choice.cost, excess, node });
                    }
                }
            }
            next.sort_unstable_by(|a, b| a.weight.total_cmp(&b.weight).then(a.cost.total_cmp(&b.cost)));
            let mut cheapest = f64::INFINITY;
            next.retain(|state| {
                let better = state.cost < cheapest;
                cheapest = cheapest.min(state.cost);
                better
            });
            if next.len() > width {
                next.select_nth_unstable_by(width, |a, b| a.excess.total_cmp(&b.excess));
                next.truncate(width);
                complete = false;
            }
            for state in &mut next {
                nodes.push(parents[state.node as usize]);
                state.node = u32::try_from(nodes.len()).expect("at most 2^23 nodes");
            }
            std::mem::swap(&mut states, &mut next);
        }
        let fitting = states.iter().filter(|state| state.weight <= self.capacity && state.cost < least);
        if let Some(found) = fitting.min_by(|a, b| a.cost.total_cmp(&b.cost)) {
            least = found.cost;
            let mut node = found.node;
            for pick in best.iter_mut().rev() {
                let (parent, picked) = nodes[node as usize - 1];
                (*pick, node) = (picked, parent);
            }
            debug_assert!((sum(self.items, best, |choice| choice.cost) - least).abs() <= self.slack);
        }
        complete
    }
}
