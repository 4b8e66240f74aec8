//! Packed codes to one code a byte and back.
//!
//! Codes of 2 and 4 bits lie within a byte, which becomes one integer of 4 or 2 bytes; loops over that become vector code.
//! Eight codes of 3 bits are 3 bytes, so a 64-bit integer holds them in both forms, and three steps lead from one to the
//! other: halves, quarters and eighths are moved apart or together.

/// `count` fields of `width` bits, one every `64 / count` bits.
const fn fields(width: u32, count: u32) -> u64 {
    let (mut mask, mut i) = (0, 0);
    while i < count {
        mask |= ((1 << width) - 1) << (i * (64 / count));
        i += 1;
    }
    mask
}

/// Eight packed codes of 3 bits to one a byte.
#[inline(always)]
fn spread(mut x: u64) -> u64 {
    x = (x | (x << 20)) & const { fields(12, 2) };
    x = (x | (x << 10)) & const { fields(6, 4) };
    (x | (x << 5)) & const { fields(3, 8) }
}

/// Eight codes of 3 bits, one a byte, to packed.
#[inline(always)]
fn squeeze(mut x: u64) -> u64 {
    x = (x | (x >> 5)) & const { fields(6, 4) };
    x = (x | (x >> 10)) & const { fields(12, 2) };
    (x | (x >> 20)) & const { fields(24, 1) }
}

/// Codes that fill `B` words.
pub const BLOCK: usize = 32;

/// The bytes that hold the codes of a row of `cols` columns, to a whole block.
pub const fn padded(cols: usize) -> usize {
    cols.next_multiple_of(BLOCK)
}

/// One block of packed 3-bit codes to bytes.
#[inline(always)]
fn unpack_three(words: &[u32; 3], codes: &mut [u8; BLOCK]) {
    let word = |i: usize| u64::from(words[i]);
    let eights = [
        word(0) & 0xff_ffff,
        (word(0) >> 24 | word(1) << 8) & 0xff_ffff,
        (word(1) >> 16 | word(2) << 16) & 0xff_ffff,
        word(2) >> 8,
    ];
    for (bytes, eight) in codes.as_chunks_mut::<8>().0.iter_mut().zip(eights) {
        *bytes = spread(eight).to_le_bytes();
    }
}

/// One block of 3-bit codes to packed words.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "halves of 64-bit integers are cut on purpose")]
fn pack_three(codes: &[u8; BLOCK], words: &mut [u32; 3]) {
    let eights = codes.as_chunks::<8>().0;
    let e: [u64; 4] = std::array::from_fn(|i| squeeze(u64::from_le_bytes(eights[i])));
    let middle = e[1] >> 8 | e[2] << 16;
    *words = [(e[0] | e[1] << 24) as u32, middle as u32, (e[2] >> 16 | e[3] << 8) as u32];
}

/// Spreads a packed row over `codes`, [`padded`] bytes.
#[inline(always)]
pub fn unpack<const B: u32>(words: &[u32], codes: &mut [u8]) {
    if B == 3 {
        for (words, block) in words.chunks(3).zip(codes.as_chunks_mut::<BLOCK>().0) {
            let mut whole = [0; 3];
            whole[..words.len()].copy_from_slice(words);
            unpack_three(&whole, block);
        }
        return;
    }
    let packed: &[u8] = bytemuck::must_cast_slice(words);
    match B {
        2 => packed.iter().zip(codes.as_chunks_mut::<4>().0).for_each(|(packed, codes)| {
            let x = u32::from(*packed);
            *codes = ((x | x << 6 | x << 12 | x << 18) & 0x0303_0303).to_le_bytes();
        }),
        4 => packed.iter().zip(codes.as_chunks_mut::<2>().0).for_each(|(packed, codes)| {
            let x = u16::from(*packed);
            *codes = ((x | x << 4) & 0x0f0f).to_le_bytes();
        }),
        _ => codes.iter_mut().zip(packed).for_each(|(code, packed)| *code = *packed),
    }
}

/// Packs a row from `codes`, [`padded`] bytes. Codes of 2 and 4 bits meet within one byte.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the low byte is what remains")]
pub fn pack<const B: u32>(codes: &[u8], words: &mut [u32]) {
    if B == 3 {
        for (words, block) in words.chunks_mut(3).zip(codes.as_chunks::<BLOCK>().0) {
            let mut whole = [0; 3];
            pack_three(block, &mut whole);
            words.copy_from_slice(&whole[..words.len()]);
        }
        return;
    }
    let packed: &mut [u8] = bytemuck::must_cast_slice_mut(words);
    match B {
        2 => packed.iter_mut().zip(codes.as_chunks::<4>().0).for_each(|(packed, codes)| {
            let x = u32::from_le_bytes(*codes);
            *packed = (x | x >> 6 | x >> 12 | x >> 18) as u8;
        }),
        4 => packed.iter_mut().zip(codes.as_chunks::<2>().0).for_each(|(packed, codes)| {
            let x = u16::from_le_bytes(*codes);
            *packed = (x | x >> 4) as u8;
        }),
        _ => packed.copy_from_slice(&codes[..packed.len()]),
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
