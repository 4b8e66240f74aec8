//! Quads: four codes of a row in one 32-bit lane, one a byte, taken from packed words by shifts and masks in whatever order
//! costs least; and activations in the same order.

use std::cmp::Ordering;

use super::simd::int8::Bytes;

/// Words in which whole codes begin and end.
pub const fn unit_words(bits: u32) -> usize {
    if bits == 3 { 3 } else { 1 }
}

/// Quads in [`unit_words`].
pub const fn unit_quads(bits: u32) -> usize {
    8 * unit_words(bits) / bits as usize
}

vectorized! {
    /// Byte `j + i * quads` of each unit becomes byte `i` of its quad `j`.
    pub fn arrange(from: &[u8], quads: usize, to: &mut [u8]) {
        match quads {
            1 => to[..from.len()].copy_from_slice(from),
            2 => turned::<2>(from, to),
            4 => turned::<4>(from, to),
            _ => turned::<8>(from, to),
        }
    }
}

#[inline(always)]
fn turned<const Q: usize>(from: &[u8], to: &mut [u8]) {
    for (from, to) in from.chunks(4 * Q).zip(to.chunks_exact_mut(4 * Q)) {
        let mut whole = [[0; Q]; 4];
        whole.as_flattened_mut()[..from.len()].copy_from_slice(from);
        for (j, to) in to.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *to = std::array::from_fn(|i| whole[i][j]);
        }
    }
}

/// Vectors such that each byte of a word holds the same bits of a quad as its other bytes do, from the words of a unit (of 2,
/// 4 and 8 bits the first is the unit). Of 3 bits those are the bytes 0, 3, 6 and 9 of twelve, each the first of eight
/// codes, then the bytes after these.
#[inline(always)]
pub fn spread<S: Bytes, const B: u32>(simd: S, unit: [S::W; 3]) -> [S::W; 3] {
    if B != 3 {
        return unit;
    }
    [gather::<S, 0>(simd, unit), gather::<S, 1>(simd, unit), gather::<S, 2>(simd, unit)]
}

/// Bytes `FIRST`, `FIRST + 3` and so on of twelve.
#[inline(always)]
fn gather<S: Bytes, const FIRST: usize>(simd: S, unit: [S::W; 3]) -> S::W {
    let low = simd.or(byte(simd, unit, FIRST, 0), byte(simd, unit, FIRST + 3, 1));
    simd.or(low, simd.or(byte(simd, unit, FIRST + 6, 2), byte(simd, unit, FIRST + 9, 3)))
}

/// Byte `from` of twelve at place `to` of a word.
#[inline(always)]
fn byte<S: Bytes>(simd: S, unit: [S::W; 3], from: usize, to: usize) -> S::W {
    let (word, from) = (unit[from / 4], from % 4);
    let moved = match from.cmp(&to) {
        Ordering::Less => simd.shift_left(word, 8 * (to - from) as u32),
        Ordering::Equal => word,
        Ordering::Greater => simd.shift_right(word, 8 * (from - to) as u32),
    };
    simd.and(moved, 0xff << (8 * to))
}

/// Quad `J` of a unit: its codes `J`, `J + unit_quads`, and so on.
#[inline(always)]
pub fn quad_of<S: Bytes, const B: u32, const J: usize>(simd: S, parts: [S::W; 3]) -> S::W {
    match (B, J) {
        (8, _) => parts[0],
        (3, 0) => bits(simd, parts[0], 0, 3),
        (3, 1) => bits(simd, parts[0], 3, 3),
        (3, 2) => across(simd, parts[0], parts[1], 2),
        (3, 3) => bits(simd, parts[1], 1, 3),
        (3, 4) => bits(simd, parts[1], 4, 3),
        (3, 5) => across(simd, parts[1], parts[2], 1),
        (3, 6) => bits(simd, parts[2], 2, 3),
        (3, _) => bits(simd, parts[2], 5, 3),
        _ => bits(simd, parts[0], B * J as u32, B),
    }
}

/// Of each byte `count` bits from bit `at` on.
#[inline(always)]
fn bits<S: Bytes>(simd: S, part: S::W, at: u32, count: u32) -> S::W {
    simd.and(simd.shift_right(part, at), ((1 << count) - 1) * 0x0101_0101)
}

/// Of each byte a code of 3 bits that begins with its `count` highest and ends in the same byte of `next`.
#[inline(always)]
fn across<S: Bytes>(simd: S, part: S::W, next: S::W, count: u32) -> S::W {
    let high = simd.and(simd.shift_left(next, count), (7 & (7 << count)) * 0x0101_0101);
    simd.or(bits(simd, part, 8 - count, count), high)
}
