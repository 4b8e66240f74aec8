//! Reading one code of a packed row: what `code_at` is in shaders.

/// Code `k` of a row that starts at word `row_word`.
#[inline]
pub fn code_at(codes: &[u32], row_word: usize, k: usize, bits: u32) -> u32 {
    let (word, shift) = (row_word + k * bits as usize / 32, (k * bits as usize % 32) as u32);
    let mut code = codes[word] >> shift;
    if shift + bits > 32 {
        code |= codes[word + 1] << (32 - shift);
    }
    code & ((1 << bits) - 1)
}

/// Zero point of a group: stored one a byte, or the middle code.
#[inline]
pub fn zero_at(zeros: &[u32], group: usize, symmetric: bool, bits: u32) -> f32 {
    if symmetric { (1u32 << (bits - 1)) as f32 } else { f32::from(zeros[group / 4].to_le_bytes()[group % 4]) }
}
