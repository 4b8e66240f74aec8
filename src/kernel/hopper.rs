//! Which entry of a product's CUDA kernel runs on cards of compute capability 9.x, where many rows of f16 activations meet a
//! packed weight: one of `cuda/part/hopper.cuh`, or none.

use super::product::GroupParams;
use super::tensor_core::{PROCESSORS, spans, words_fit};
use crate::dispatch::{CudaLaunch, Role, Variant, linear_grid};
use crate::dtype::Dtype;

/// An entry: width of the codes, rows of the weight and of x a block.
type Entry = (&'static str, u32, u32, u32);

/// By width, small tiles first.
const MATMUL_GROUP: &[Entry] = &[
    ("matmul_group_hopper_2_128x64", 2, 128, 64),
    ("matmul_group_hopper_2_128x128", 2, 128, 128),
    ("matmul_group_hopper_4_128x64", 4, 128, 64),
    ("matmul_group_hopper_4_128x128", 4, 128, 128),
    ("matmul_group_hopper_8_128x64", 8, 128, 64),
    ("matmul_group_hopper_8_128x128", 8, 128, 128),
];

/// Rows of x from which on these entries run: with fewer, smaller tiles keep more processors busy.
const LEAST_BATCH: u32 = 128;
/// Columns that a block stages at a time, in so many stages.
const COLS: u32 = 64;
const STAGES: u32 = 6;
/// Two warpgroups that multiply, and one that brings what they multiply.
const THREADS: u32 = 384;
/// Stages begin at a multiple of this.
const ATOM: u32 = 1024;

pub(super) fn matmul_group(p: &GroupParams, variant: &Variant) -> Option<CudaLaunch> {
    let bits = variant.get("BITS");
    let half = variant.dtype(Role::Activation) == Dtype::F16;
    let fits = words_fit(bits, p.words_per_row) && p.cols.is_multiple_of(8) && spans(p.group, p.cols, COLS);
    if !half || !fits || p.batch < LEAST_BATCH {
        return None;
    }
    let tiles = || MATMUL_GROUP.iter().filter(|entry| entry.1 == bits);
    let blocks = |entry: &Entry| p.rows.div_ceil(entry.2) as usize * p.batch.div_ceil(entry.3) as usize;
    let entry = tiles().rfind(|entry| blocks(entry) >= PROCESSORS).or_else(|| tiles().next())?;
    let (name, _, rows, batch) = *entry;
    let shared = ATOM + STAGES * COLS * (2 * batch + rows * bits / 8);
    Some(CudaLaunch { entry: name, grid: linear_grid(blocks(entry)), block: THREADS, shared })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::matmul_group;
    use crate::kernel::part::InputType;
    use crate::scheme::Bits;

    #[test]
    fn tiles_follow_the_shape() {
        let found = |bits: u8, x, batch, rows, cols: u32, group: u32| {
            let variant = matmul_group::variant(Bits::new(bits).expect("a width"), false, Dtype::F16, x);
            let words_per_row = (cols * u32::from(bits)).div_ceil(32);
            let groups_per_row = cols.div_ceil(group);
            let params = GroupParams {
                batch,
                rows,
                cols,
                group,
                groups_per_row,
                words_per_row,
                out_offset: 0,
                out_stride: rows,
                bias: 0,
            };
            super::matmul_group(&params, &variant).map(|l| (l.entry, l.grid[0] * l.grid[1], l.block, l.shared))
        };
        let (half, full) = (InputType::F16, InputType::F32);
        let large = |blocks| Some(("matmul_group_hopper_4_128x128", blocks, 384, 123_904));
        let small = |blocks| Some(("matmul_group_hopper_4_128x64", blocks, 384, 74_752));
        assert_eq!(found(4, half, 4096, 8192, 8192, 128), large(2048));
        assert_eq!(found(4, half, 256, 8192, 8192, 64), large(128));
        assert_eq!(found(4, half, 128, 8192, 8192, 8192), small(128));
        assert_eq!(found(4, half, 129, 67, 192, 192), small(3));
        assert_eq!(found(8, half, 4096, 4096, 4096, 128), Some(("matmul_group_hopper_8_128x128", 1024, 384, 148_480)));
        assert_eq!(found(2, half, 4096, 4096, 4096, 128), Some(("matmul_group_hopper_2_128x128", 1024, 384, 111_616)));
        // Too few rows of x, activations in f32, codes of 3 bits, groups and rows that are not whole steps and reads.
        assert_eq!(found(4, half, 127, 8192, 8192, 128), None);
        assert_eq!(found(4, full, 4096, 8192, 8192, 128), None);
        assert_eq!(found(3, half, 4096, 8192, 8192, 128), None);
        assert_eq!(found(4, half, 4096, 8192, 8192, 32), None);
        assert_eq!(found(4, half, 4096, 8192, 8200, 128), None);
    }

    /// Every entry is in the source, made for the tile that its name says, and constants are those of the source.
    #[test]
    fn entries_are_those_of_the_source() {
        let source = include_str!("../../cuda/matmul_group_hopper.cu");
        let lines: Vec<&str> = source.lines().filter(|line| line.starts_with("HOPPER(")).collect();
        let made = |(name, bits, rows, batch): &Entry| format!("HOPPER({name}, {bits}, {rows}, {batch})");
        assert_eq!(lines, MATMUL_GROUP.iter().map(made).collect::<Vec<_>>());
        let (part, warpgroup) =
            (include_str!("../../cuda/part/hopper.cuh"), include_str!("../../cuda/part/warpgroup.cuh"));
        assert!(part.contains(&format!("HOPPER_COLS = {COLS}, HOPPER_STAGES = {STAGES};")));
        assert!(part.contains("HOPPER_THREADS = 3 * WARPGROUP") && warpgroup.contains("WARPGROUP = 128"));
        assert!(warpgroup.contains(&format!("ATOM = {ATOM};")));
    }
}
