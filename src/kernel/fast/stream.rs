//! Packed codes to one code a byte and back.
//!
//! Eight codes of `B` bits are `B` bytes of the stream whatever `B` is, so a 64-bit integer holds them in both
//! forms, and three steps lead from one to the other: halves, quarters and eighths are moved apart or together.
//! The same steps serve 2, 3 and 4 bits, and no code straddles anything.

/// `count` fields of `width` bits, one every `64 / count` bits.
const fn fields(width: u32, count: u32) -> u64 {
    let (mut mask, mut i) = (0, 0);
    while i < count {
        mask |= ((1 << width) - 1) << (i * (64 / count));
        i += 1;
    }
    mask
}

/// Eight packed codes to one a byte.
#[inline(always)]
fn spread<const B: u32>(mut x: u64) -> u64 {
    if B < 8 {
        x = (x | (x << (32 - 4 * B))) & const { fields(4 * B, 2) };
        x = (x | (x << (16 - 2 * B))) & const { fields(2 * B, 4) };
        x = (x | (x << (8 - B))) & const { fields(B, 8) };
    }
    x
}

/// Eight codes, one a byte, to packed.
#[inline(always)]
fn squeeze<const B: u32>(mut x: u64) -> u64 {
    if B < 8 {
        x = (x | (x >> (8 - B))) & const { fields(2 * B, 4) };
        x = (x | (x >> (16 - 2 * B))) & const { fields(4 * B, 2) };
        x = (x | (x >> (32 - 4 * B))) & const { fields(8 * B % 64, 1) };
    }
    x
}

/// Codes that fill `B` words.
pub const BLOCK: usize = 32;

/// The bytes that hold the codes of a row of `cols` columns, to a whole block.
pub const fn padded(cols: usize) -> usize {
    cols.next_multiple_of(BLOCK)
}

/// One block of packed codes to bytes.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "halves of 64-bit integers are cut on purpose")]
fn unpack_block<const B: u32>(words: &[u32], codes: &mut [u8; BLOCK]) {
    let word = |i: usize| u64::from(words[i]);
    let eights: [u64; 4] = match B {
        2 => [word(0) & 0xffff, word(0) >> 16, word(1) & 0xffff, word(1) >> 16],
        3 => [
            word(0) & 0xff_ffff,
            (word(0) >> 24 | word(1) << 8) & 0xff_ffff,
            (word(1) >> 16 | word(2) << 16) & 0xff_ffff,
            word(2) >> 8,
        ],
        4 => [word(0), word(1), word(2), word(3)],
        _ => std::array::from_fn(|i| word(2 * i) | word(2 * i + 1) << 32),
    };
    for (bytes, eight) in codes.as_chunks_mut::<8>().0.iter_mut().zip(eights) {
        *bytes = spread::<B>(eight).to_le_bytes();
    }
}

/// One block of codes to packed words.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "halves of 64-bit integers are cut on purpose")]
fn pack_block<const B: u32>(codes: &[u8; BLOCK], words: &mut [u32]) {
    let eights = codes.as_chunks::<8>().0;
    let e: [u64; 4] = std::array::from_fn(|i| squeeze::<B>(u64::from_le_bytes(eights[i])));
    match B {
        2 => words.copy_from_slice(&[(e[0] | e[1] << 16) as u32, (e[2] | e[3] << 16) as u32]),
        3 => {
            let middle = e[1] >> 8 | e[2] << 16;
            words.copy_from_slice(&[(e[0] | e[1] << 24) as u32, middle as u32, (e[2] >> 16 | e[3] << 8) as u32]);
        }
        4 => words.copy_from_slice(&e.map(|x| x as u32)),
        _ => words.as_chunks_mut::<2>().0.iter_mut().zip(e).for_each(|(w, x)| *w = [x as u32, (x >> 32) as u32]),
    }
}

/// Spreads a packed row over `codes`, [`padded`] bytes.
#[inline(always)]
pub fn unpack<const B: u32>(words: &[u32], codes: &mut [u8]) {
    let blocks = codes.as_chunks_mut::<BLOCK>().0;
    for (words, block) in words.chunks(B as usize).zip(blocks) {
        if words.len() == B as usize {
            unpack_block::<B>(words, block);
        } else {
            let mut whole = [0; 8];
            whole[..words.len()].copy_from_slice(words);
            unpack_block::<B>(&whole[..B as usize], block);
        }
    }
}

/// Packs a row from `codes`, [`padded`] bytes.
#[inline(always)]
pub fn pack<const B: u32>(codes: &[u8], words: &mut [u32]) {
    let blocks = codes.as_chunks::<BLOCK>().0;
    for (words, block) in words.chunks_mut(B as usize).zip(blocks) {
        if words.len() == B as usize {
            pack_block::<B>(block, words);
        } else {
            let mut whole = [0; 8];
            pack_block::<B>(block, &mut whole[..B as usize]);
            words.copy_from_slice(&whole[..words.len()]);
        }
    }
}

/// Calls a function that is generic over the width of a code.
macro_rules! by_bits {
    ($bits:expr, $function:ident $(::<$type:ty>)? ($($argument:expr),* $(,)?)) => {
        match $bits {
            2 => $function::<$($type,)? 2>($($argument),*),
            3 => $function::<$($type,)? 3>($($argument),*),
            4 => $function::<$($type,)? 4>($($argument),*),
            _ => $function::<$($type,)? 8>($($argument),*),
        }
    };
}
pub(super) use by_bits;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::Packing;
    use crate::random::Random;
    use crate::scheme::Bits;

    fn round_trip<const B: u32>(bits: Bits) {
        for cols in [1, 7, 10, 31, 32, 33, 64, 100, 172] {
            let mut random = Random::new(u32::from(bits.get()));
            let codes: Vec<u8> =
                (0..cols).map(|_| random.below(u32::from(bits.max_code()) + 1).to_le_bytes()[0]).collect();
            let words = Packing::Rows.pack(&codes, 1, cols, bits).expect("as many codes as columns");
            let mut bytes = vec![0; padded(cols)];
            unpack::<B>(&words, &mut bytes);
            assert_eq!(bytes[..cols], codes);
            let mut packed = vec![u32::MAX; words.len()];
            pack::<B>(&bytes, &mut packed);
            assert_eq!(packed, words);
        }
    }

    #[test]
    fn agrees_with_packing() {
        for bits in Bits::ALL {
            by_bits!(bits.get(), round_trip(bits));
        }
    }
}
