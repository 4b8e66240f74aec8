// Codes of 2, 3, 4 or 8 bits in a dense little-endian stream, four at a time as the bytes of one word: int8 as
// `dot4I8Packed` takes it. Codes of 8 bits are 128 less than stored, see `quad_bias`.
override BITS: u32 = 4u;

// Codes k to k + 3 of a row. Those past its end mean nothing.
fn quad_at(row_word: u32, k: u32) -> u32 {
    let bit = k * BITS;
    let word = row_word + bit / 32u;
    let shift = bit % 32u;
    var quad = codes[word] >> shift;
    if shift + 4u * BITS > 32u { quad |= codes[word + 1u] << (32u - shift); }
    if BITS == 8u { return quad ^ 0x80808080u; }
    // Halves apart, then quarters.
    let code = (1u << BITS) - 1u;
    quad = extractBits(quad, 0u, 4u * BITS);
    let pair = code | (code << BITS);
    quad = (quad | (quad << (16u - 2u * BITS))) & (pair | (pair << 16u));
    return (quad | (quad << (8u - BITS))) & (code * 0x01010101u);
}

// What `quad_at` takes off each code.
fn quad_bias() -> i32 { return select(0, 128, BITS == 8u); }
