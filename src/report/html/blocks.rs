//! The layers of a model as its blocks repeat them: one stack for each row of blocks, such as the decoder's.

use std::collections::{BTreeMap, HashMap};

/// Blocks of one kind, each with layers of the same kinds.
#[derive(Debug, PartialEq)]
pub(super) struct Blocks {
    /// Path of the list of blocks: `model.layers`.
    pub(super) stack: String,
    /// Numbers of the blocks, rising.
    pub(super) blocks: Vec<u64>,
    /// Kinds of layers: the path within a block, numbers in it as `*`.
    pub(super) kinds: Vec<String>,
    /// Block, kind and index of each layer; several of one block may be of one kind, such as experts.
    pub(super) layers: Vec<(usize, usize, usize)>,
}

/// Kinds of layers by the end of their name, in the order in which a block computes them.
const ORDER: [&str; 12] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "qkv_proj",
    "o_proj",
    "out_proj",
    "gate_proj",
    "up_proj",
    "gate_up_proj",
    "down_proj",
    "fc1",
    "fc2",
];

/// Number of its block, kind and index of a layer.
type Place = (u64, String, usize);

/// More kinds than this are no picture.
const MOST_KINDS: usize = 32;

/// Stacks of at least two blocks with at least two kinds of layers, and the layers that are in none.
pub(super) fn blocks<'a>(paths: impl Iterator<Item = &'a str>) -> (Vec<Blocks>, Vec<usize>) {
    let mut stacks: Vec<(&str, Vec<Place>)> = Vec::new();
    let (mut places, mut outside) = (HashMap::new(), Vec::new());
    for (layer, path) in paths.enumerate() {
        let Some((stack, block, kind)) = split(path) else {
            outside.push(layer);
            continue;
        };
        let place = *places.entry(stack).or_insert(stacks.len());
        if place == stacks.len() {
            stacks.push((stack, Vec::new()));
        }
        stacks[place].1.push((block, kind, layer));
    }
    let mut found = Vec::new();
    for (stack, layers) in stacks {
        match Blocks::of(stack, &layers) {
            Some(blocks) => found.push(blocks),
            None => outside.extend(layers.iter().map(|(_, _, layer)| layer)),
        }
    }
    outside.sort_unstable();
    (found, outside)
}

impl Blocks {
    fn of(stack: &str, layers: &[Place]) -> Option<Self> {
        let mut kinds: Vec<&str> = Vec::new();
        let mut blocks = BTreeMap::new();
        for (block, kind, _) in layers {
            blocks.insert(*block, 0);
            if !kinds.contains(&kind.as_str()) {
                kinds.push(kind);
            }
            if kinds.len() > MOST_KINDS {
                return None;
            }
        }
        if blocks.len() < 2 || kinds.len() < 2 {
            return None;
        }
        kinds.sort_by_key(|kind| {
            let end = kind.rsplit('.').next().unwrap_or_default();
            ORDER.iter().position(|known| *known == end).unwrap_or(ORDER.len())
        });
        blocks.values_mut().enumerate().for_each(|(i, row)| *row = i);
        let place =
            |(block, kind, layer): &Place| Some((*blocks.get(block)?, kinds.iter().position(|k| k == kind)?, *layer));
        Some(Self {
            stack: stack.to_owned(),
            blocks: blocks.keys().copied().collect(),
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            layers: layers.iter().filter_map(place).collect(),
        })
    }

    /// The kinds by as much of their ends as tells them apart.
    pub(super) fn short_kinds(&self) -> Vec<String> {
        let end = |kind: &str, parts: usize| {
            let parts = kind.rsplit('.').take(parts).collect::<Vec<_>>();
            parts.into_iter().rev().collect::<Vec<_>>().join(".")
        };
        let unique = |kind: &str, parts| {
            let own = end(kind, parts);
            self.kinds.iter().filter(|other| end(other, parts) == own).count() == 1
        };
        let short = |kind: &String| {
            let most = kind.split('.').count();
            end(kind, (1..most).find(|parts| unique(kind, *parts)).unwrap_or(most))
        };
        self.kinds.iter().map(short).collect()
    }
}

/// A path as list of blocks, number of the block, and kind of the layer within it.
fn split(path: &str) -> Option<(&str, u64, String)> {
    let mut start = 0;
    for part in path.split('.') {
        let end = start + part.len();
        if let (Some(block), Some(rest)) = (number(part), path.get(end + 1..)) {
            let kind = rest.split('.').map(|part| if number(part).is_some() { "*" } else { part });
            return Some((path[..start].trim_end_matches('.'), block, kind.collect::<Vec<_>>().join(".")));
        }
        start = end + 1;
    }
    None
}

fn number(part: &str) -> Option<u64> {
    Some(part).filter(|part| part.bytes().all(|b| b.is_ascii_digit())).and_then(|part| part.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(paths: &[&str]) -> (Vec<Blocks>, Vec<usize>) {
        blocks(paths.iter().copied())
    }

    #[test]
    fn layers_are_sorted_into_blocks_and_kinds() {
        let (stacks, outside) = of(&[
            "lm_head",
            "model.layers.10.mlp.down_proj",
            "model.layers.10.self_attn.q_proj",
            "model.layers.2.mlp.down_proj",
            "model.layers.2.self_attn.q_proj",
        ]);
        let expected = Blocks {
            stack: "model.layers".into(),
            blocks: vec![2, 10],
            kinds: vec!["self_attn.q_proj".into(), "mlp.down_proj".into()],
            layers: vec![(1, 1, 1), (1, 0, 2), (0, 1, 3), (0, 0, 4)],
        };
        assert_eq!((&stacks[..], &outside[..]), (&[expected][..], &[0][..]));
        assert_eq!(stacks[0].short_kinds(), ["q_proj", "down_proj"]);
    }

    #[test]
    fn experts_of_a_block_share_a_kind_and_stacks_are_apart() {
        let mut paths = Vec::new();
        for stack in ["encoder.block", "decoder.block"] {
            for block in 0..3 {
                for expert in 0..4 {
                    paths.push(format!("{stack}.{block}.experts.{expert}.up"));
                }
                paths.push(format!("{stack}.{block}.attention.output.dense"));
                paths.push(format!("{stack}.{block}.output.dense"));
            }
        }
        let (stacks, outside) = blocks(paths.iter().map(String::as_str));
        assert_eq!((stacks.len(), outside.len(), stacks[1].stack.as_str()), (2, 0, "decoder.block"));
        assert_eq!(stacks[0].kinds, ["experts.*.up", "attention.output.dense", "output.dense"]);
        assert_eq!(stacks[0].short_kinds(), ["up", "attention.output.dense", "output.dense"]);
        assert_eq!(stacks[0].layers.iter().filter(|(block, kind, _)| (*block, *kind) == (1, 0)).count(), 4);
    }

    #[test]
    fn what_repeats_nothing_is_in_no_stack() {
        let paths = ["fc1", "classifier.1", "classifier.4", "h.0.a", "h.0.b", "", ".", "..", "x.1.", "9"];
        let (stacks, outside) = of(&paths);
        assert!(stacks.is_empty(), "{stacks:?}");
        assert_eq!(outside, (0..paths.len()).collect::<Vec<_>>());
        let many: Vec<_> = (0..200).map(|i| format!("layers.{}.kind{}", i % 2, i / 2)).collect();
        assert!(blocks(many.iter().map(String::as_str)).0.is_empty());
    }
}
