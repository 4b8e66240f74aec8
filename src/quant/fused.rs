//! Layers of a block that loaders fuse into one product.

/// Their names: query, key and value; gate and up.
const FUSED: [&[&str]; 2] = [&["q_proj", "k_proj", "v_proj"], &["gate_proj", "up_proj"]];

/// The layers that are fused, by their places among the paths; one that nothing is fused with is in no list.
pub(crate) fn fused<'a>(paths: impl IntoIterator<Item = &'a str>) -> Vec<Vec<usize>> {
    let mut all: Vec<(&str, usize, Vec<usize>)> = Vec::new();
    for (index, path) in paths.into_iter().enumerate() {
        let Some((parent, name)) = path.rsplit_once('.') else { continue };
        let Some(kind) = FUSED.iter().position(|names| names.contains(&name)) else { continue };
        match all.iter_mut().find(|(of, other, _)| *of == parent && *other == kind) {
            Some((_, _, members)) => members.push(index),
            None => all.push((parent, kind, vec![index])),
        }
    }
    all.into_iter().map(|(_, _, members)| members).filter(|members| members.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_one_block_are_fused() {
        let paths =
            ["a.0.q_proj", "a.0.k_proj", "a.0.o_proj", "a.1.q_proj", "a.0.v_proj", "b.gate_proj", "b.up_proj", "c"];
        assert_eq!(fused(paths), [vec![0, 1, 4], vec![5, 6]]);
    }
}
