//! Which entry of a product's CUDA kernel runs: one for tensor cores where the shape suits it, else the one that takes
//! every shape.
//!
//! Entries differ in the tile of a block: rows of the weight, and rows of x. Small tiles make more blocks, large ones read
//! less: a tile is chosen that is as large as leaves about a block for each of [`PROCESSORS`]. Entries for up to 16 rows
//! of x read the weight straight into registers, 128 columns at a time; the others stage 64 columns of both operands.

use super::product::{DenseParams, GroupParams};
use super::product_int8::Int8Params;
use crate::dispatch::{CudaLaunch, Role, Variant, linear_grid};
use crate::dtype::Dtype;

/// Processors of the cards that the tiles are chosen for: 108 to 144 on those with much bandwidth.
pub(super) const PROCESSORS: usize = 100;
/// Threads of each of these entries.
const THREADS: u32 = 256;
/// Rows of x that entries take that stage nothing.
const FEW: u32 = 16;

/// An entry: width of the codes, whether activations are f16, rows of the weight and of x a block.
type Entry = (&'static str, u32, bool, u32, u32);

const MATVEC_GROUP: &[Entry] = &[
    ("matvec_group_2_f16_32", 2, true, 32, 8),
    ("matvec_group_2_f16_64", 2, true, 64, 8),
    ("matvec_group_2_f32_32", 2, false, 32, 8),
    ("matvec_group_2_f32_64", 2, false, 64, 8),
    ("matvec_group_3_f16_32", 3, true, 32, 8),
    ("matvec_group_3_f16_64", 3, true, 64, 8),
    ("matvec_group_3_f32_32", 3, false, 32, 8),
    ("matvec_group_3_f32_64", 3, false, 64, 8),
    ("matvec_group_4_f16_32", 4, true, 32, 8),
    ("matvec_group_4_f16_64", 4, true, 64, 8),
    ("matvec_group_4_f32_32", 4, false, 32, 8),
    ("matvec_group_4_f32_64", 4, false, 64, 8),
    ("matvec_group_8_f16_32", 8, true, 32, 8),
    ("matvec_group_8_f32_32", 8, false, 32, 8),
];

const MATMUL_GROUP: &[Entry] = &[
    ("matmul_group_2_f16_32x16", 2, true, 32, 16),
    ("matmul_group_2_f16_64x16", 2, true, 64, 16),
    ("matmul_group_2_f16_64x32", 2, true, 64, 32),
    ("matmul_group_2_f16_64x64", 2, true, 64, 64),
    ("matmul_group_2_f16_128x128", 2, true, 128, 128),
    ("matmul_group_2_f32_64x16", 2, false, 64, 16),
    ("matmul_group_2_f32_64x32", 2, false, 64, 32),
    ("matmul_group_2_f32_64x64", 2, false, 64, 64),
    ("matmul_group_2_f32_128x64", 2, false, 128, 64),
    ("matmul_group_4_f16_32x16", 4, true, 32, 16),
    ("matmul_group_4_f16_64x16", 4, true, 64, 16),
    ("matmul_group_4_f16_64x32", 4, true, 64, 32),
    ("matmul_group_4_f16_64x64", 4, true, 64, 64),
    ("matmul_group_4_f16_128x128", 4, true, 128, 128),
    ("matmul_group_4_f32_64x16", 4, false, 64, 16),
    ("matmul_group_4_f32_64x32", 4, false, 64, 32),
    ("matmul_group_4_f32_64x64", 4, false, 64, 64),
    ("matmul_group_4_f32_128x64", 4, false, 128, 64),
    ("matmul_group_8_f16_32x16", 8, true, 32, 16),
    ("matmul_group_8_f16_64x32", 8, true, 64, 32),
    ("matmul_group_8_f16_64x64", 8, true, 64, 64),
    ("matmul_group_8_f16_128x128", 8, true, 128, 128),
    ("matmul_group_8_f32_64x16", 8, false, 64, 16),
    ("matmul_group_8_f32_64x32", 8, false, 64, 32),
    ("matmul_group_8_f32_64x64", 8, false, 64, 64),
];

/// Weights in f16, as codes of 16 bits.
const MATMUL: &[Entry] = &[
    ("matmul_f16_f16_64x32", 16, true, 64, 32),
    ("matmul_f16_f16_128x64", 16, true, 128, 64),
    ("matmul_f16_f32_64x32", 16, false, 64, 32),
];

const MATVEC_INT8: &[Entry] = &[
    ("matvec_group_int8_2_32", 2, false, 32, 8),
    ("matvec_group_int8_2_64", 2, false, 64, 8),
    ("matvec_group_int8_3_32", 3, false, 32, 8),
    ("matvec_group_int8_3_64", 3, false, 64, 8),
    ("matvec_group_int8_4_32", 4, false, 32, 8),
    ("matvec_group_int8_4_64", 4, false, 64, 8),
    ("matvec_group_int8_8_32", 8, false, 32, 8),
];

const MATMUL_INT8: &[Entry] = &[
    ("matmul_group_int8_2_32x16", 2, false, 32, 16),
    ("matmul_group_int8_2_64x16", 2, false, 64, 16),
    ("matmul_group_int8_2_64x32", 2, false, 64, 32),
    ("matmul_group_int8_2_64x64", 2, false, 64, 64),
    ("matmul_group_int8_2_128x128", 2, false, 128, 128),
    ("matmul_group_int8_4_32x16", 4, false, 32, 16),
    ("matmul_group_int8_4_64x16", 4, false, 64, 16),
    ("matmul_group_int8_4_64x32", 4, false, 64, 32),
    ("matmul_group_int8_4_64x64", 4, false, 64, 64),
    ("matmul_group_int8_4_128x128", 4, false, 128, 128),
    ("matmul_group_int8_8_32x16", 8, false, 32, 16),
    ("matmul_group_int8_8_64x32", 8, false, 64, 32),
    ("matmul_group_int8_8_64x64", 8, false, 64, 64),
    ("matmul_group_int8_8_128x128", 8, false, 128, 128),
];

pub(super) fn matvec_group(p: &GroupParams, variant: &Variant) -> Option<CudaLaunch> {
    let (bits, half) = (variant.get("BITS"), variant.dtype(Role::Activation) == Dtype::F16);
    let fits = words_fit(bits, p.words_per_row) && p.cols.is_multiple_of(8) && spans(p.group, p.cols, 128);
    if fits { largest(MATVEC_GROUP, bits, half, p.rows, p.batch) } else { None }
}

pub(super) fn matmul_group(p: &GroupParams, variant: &Variant) -> Option<CudaLaunch> {
    let (bits, half) = (variant.get("BITS"), variant.dtype(Role::Activation) == Dtype::F16);
    if !words_fit(bits, p.words_per_row) || !p.cols.is_multiple_of(8) || !spans(p.group, p.cols, 32) {
        return None;
    }
    // Of f32 activations all entries stage, of f16 those for more than a few rows.
    let unstaged = half && p.batch <= FEW;
    let batch = if unstaged && !spans(p.group, p.cols, 128) { FEW + 1 } else { p.batch };
    largest(MATMUL_GROUP, bits, half, p.rows, batch)
}

pub(super) fn matmul(p: &DenseParams, variant: &Variant) -> Option<CudaLaunch> {
    let fits = variant.dtype(Role::Weight) == Dtype::F16 && p.cols.is_multiple_of(8) && p.cols > 0;
    let half = variant.dtype(Role::Activation) == Dtype::F16;
    if fits { largest(MATMUL, 16, half, p.rows, p.batch) } else { None }
}

pub(super) fn matvec_int8(p: &Int8Params, variant: &Variant) -> Option<CudaLaunch> {
    let bits = variant.get("BITS");
    if int8_fits(p, bits, 128) { largest(MATVEC_INT8, bits, false, p.rows, p.batch) } else { None }
}

pub(super) fn matmul_int8(p: &Int8Params, variant: &Variant) -> Option<CudaLaunch> {
    let bits = variant.get("BITS");
    let batch = if p.batch <= FEW && !int8_fits(p, bits, 128) { FEW + 1 } else { p.batch };
    if int8_fits(p, bits, 32) { largest(MATMUL_INT8, bits, false, p.rows, batch) } else { None }
}

/// Whether rows of codes begin at 16 bytes, which reads of so many at a time want. Those of 3 bits are read by words.
pub(super) fn words_fit(bits: u32, words_per_row: u32) -> bool {
    words_per_row > 0 && (bits == 3 || words_per_row.is_multiple_of(4))
}

/// Whether a span is whole steps of this many columns, or all columns.
pub(super) fn spans(span: u32, cols: u32, step: u32) -> bool {
    span >= cols || span.is_multiple_of(step)
}

/// Whether rows of activations begin at 16 bytes, and blocks are whole steps.
fn int8_fits(p: &Int8Params, bits: u32, step: u32) -> bool {
    let room = p.cols.div_ceil(p.block) * p.block.div_ceil(4);
    let whole = p.cols.is_multiple_of(32) && room.is_multiple_of(4);
    // A row that is one block is one group too, whose integers are added to the end.
    words_fit(bits, p.words_per_row) && whole && spans(p.block, p.cols, step)
}

/// The entry of the largest tile that leaves enough blocks, or of the smallest. Up to 64 rows of x are one tile's where
/// there is such a tile.
fn largest(entries: &[Entry], bits: u32, half: bool, rows: u32, batch: u32) -> Option<CudaLaunch> {
    let fitting = || entries.iter().filter(|e| e.1 == bits && e.2 == half);
    let most = fitting().map(|e| e.4).max()?;
    let least = fitting().map(|e| e.4).filter(|n| *n >= batch.min(64).min(most)).min()?;
    let tiles = || fitting().filter(|e| e.4 == least || batch > 64 && e.4 > least);
    let blocks = |e: &Entry| rows.div_ceil(e.3) as usize * batch.div_ceil(e.4) as usize;
    let large = tiles().filter(|e| blocks(e) >= PROCESSORS).max_by_key(|e| e.3 * e.4);
    let entry = large.or_else(|| tiles().min_by_key(|e| e.3 * e.4))?;
    Some(CudaLaunch { entry: entry.0, grid: linear_grid(blocks(entry)), block: THREADS, shared: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::part::{InputType, Reduce};
    use crate::kernel::{matmul_group, matmul_group_int8, matvec_group, matvec_group_int8};
    use crate::scheme::Bits;

    fn group(batch: u32, rows: u32, cols: u32, group: u32, bits: u32) -> GroupParams {
        let (groups_per_row, words_per_row) = (cols.div_ceil(group), (cols * bits).div_ceil(32));
        let out_stride = rows;
        GroupParams { batch, rows, cols, group, groups_per_row, words_per_row, out_offset: 0, out_stride, bias: 0 }
    }

    fn int8(batch: u32, rows: u32, cols: u32, block: u32, bits: u32) -> Int8Params {
        let (groups_per_row, words_per_row) = (cols.div_ceil(block), (cols * bits).div_ceil(32));
        let (group, out_offset, out_stride, bias) = (block, 0, rows, 0);
        Int8Params { batch, rows, cols, group, groups_per_row, words_per_row, block, out_offset, out_stride, bias }
    }

    #[test]
    fn tiles_follow_the_shape() {
        let bits = |bits| Bits::new(bits).expect("a width");
        for (x, batch, rows, cols, size, expected) in [
            (InputType::F16, 9, 8192, 8192, 128, Some(("matmul_group_4_f16_64x16", 128))),
            (InputType::F16, 16, 4096, 8192, 128, Some(("matmul_group_4_f16_32x16", 128))),
            (InputType::F16, 9, 8192, 8192, 64, Some(("matmul_group_4_f16_64x32", 128))),
            (InputType::F32, 9, 8192, 8192, 128, Some(("matmul_group_4_f32_64x16", 128))),
            (InputType::F16, 33, 8192, 8192, 128, Some(("matmul_group_4_f16_64x64", 128))),
            (InputType::F16, 65, 4096, 4096, 128, Some(("matmul_group_4_f16_64x64", 128))),
            (InputType::F16, 4096, 8192, 8192, 128, Some(("matmul_group_4_f16_128x128", 2048))),
            (InputType::F32, 4096, 8192, 8192, 32, Some(("matmul_group_4_f32_128x64", 4096))),
            (InputType::F32, 65, 67, 256, 128, Some(("matmul_group_4_f32_64x64", 4))),
            (InputType::F32, 9, 8192, 8192, 16, None),
            (InputType::F32, 9, 8192, 8200, 128, None),
            (InputType::F16, 9, 8192, 100, 100, None),
        ] {
            let variant = matmul_group::variant(bits(4), true, Dtype::F16, x);
            let found = matmul_group(&group(batch, rows, cols, size, 4), &variant);
            let found = found.map(|launch| (launch.entry, launch.grid[0] * launch.grid[1]));
            assert_eq!(found, expected, "{batch} x {rows} x {cols} groups of {size} {x:?}");
        }
        let dense = |x, batch, cols| {
            let params = DenseParams { batch, rows: 8192, cols, out_offset: 0, out_stride: 8192 };
            matmul(&params, &crate::kernel::matmul::variant(Dtype::F16, x)).map(|launch| launch.entry)
        };
        assert_eq!(dense(InputType::F16, 9, 4096), Some("matmul_f16_f16_64x32"));
        assert_eq!(dense(InputType::F16, 512, 4096), Some("matmul_f16_f16_128x64"));
        assert_eq!(dense(InputType::F32, 512, 4096), Some("matmul_f16_f32_64x32"));
        assert_eq!(dense(InputType::F32, 512, 4092), None);
        let few = |b: u8, rows, cols, size| {
            let variant = matvec_group::variant(bits(b), false, Dtype::F32, InputType::F32, Reduce::Shared, 1);
            matvec_group(&group(1, rows, cols, size, b.into()), &variant).map(|launch| launch.entry)
        };
        assert_eq!(few(4, 8192, 8192, 128), Some("matvec_group_4_f32_64"));
        assert_eq!(few(8, 8192, 8192, 8192), Some("matvec_group_8_f32_32"));
        assert_eq!(few(3, 4096, 4104, 256), Some("matvec_group_3_f32_32"));
        assert_eq!(few(4, 4096, 4104, 256), None);
        assert_eq!(few(4, 4096, 4096, 64), None);
        let variant = matmul_group_int8::variant(bits(2), true, Dtype::F16);
        let many =
            |batch, cols, block| matmul_int8(&int8(batch, 8192, cols, block, 2), &variant).map(|launch| launch.entry);
        assert_eq!(many(9, 8192, 8192), Some("matmul_group_int8_2_64x16"));
        assert_eq!(many(9, 8192, 64), Some("matmul_group_int8_2_64x32"));
        assert_eq!(many(512, 8192, 128), Some("matmul_group_int8_2_128x128"));
        assert_eq!(many(512, 8192, 80), None);
        assert_eq!(many(512, 8200, 8200), None);
        let variant = matvec_group_int8::variant(bits(2), true, Dtype::F16, Reduce::Shared, 1);
        let one = |rows, block| matvec_int8(&int8(1, rows, 4096, block, 2), &variant).map(|launch| launch.entry);
        assert_eq!(one(8192, 4096), Some("matvec_group_int8_2_64"));
        assert_eq!(one(64, 128), Some("matvec_group_int8_2_32"));
        assert_eq!(one(64, 64), None);
    }

    /// Every entry is in its kernel's source, made for the tile that its name says.
    #[test]
    fn entries_are_those_of_the_sources() {
        for (source, entries) in [
            (include_str!("../../cuda/matvec_group.cu"), MATVEC_GROUP),
            (include_str!("../../cuda/matmul_group.cu"), MATMUL_GROUP),
            (include_str!("../../cuda/matmul.cu"), MATMUL),
            (include_str!("../../cuda/matvec_group_int8.cu"), MATVEC_INT8),
            (include_str!("../../cuda/matmul_group_int8.cu"), MATMUL_INT8),
        ] {
            let lines = || source.lines().filter(|l| l.starts_with("FEW(") || l.starts_with("MANY("));
            assert_eq!(lines().count(), entries.len(), "{}", entries[0].0);
            for (name, bits, _, rows, batch) in entries {
                let line = lines().find(|line| line.contains(&format!("({name}, ")));
                let line = line.unwrap_or_else(|| panic!("no entry {name}"));
                let size = if line.starts_with("FEW") { format!(" {rows})") } else { format!(" {rows}, {batch}") };
                let width = if *bits == 16 { String::new() } else { format!(", {bits}, ") };
                assert!(line.contains(&size) && line.contains(&width), "{line}: {size}");
            }
        }
    }
}
