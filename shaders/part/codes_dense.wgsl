// Codes of 2, 4 or 8 bits in a dense little-endian stream: none straddles two words.
override BITS: u32 = 4u;

fn code_at(row_word: u32, k: u32) -> u32 {
    let bit = k * BITS;
    return extractBits(codes[row_word + bit / 32u], bit % 32u, BITS);
}

struct Codes8 { low: vec4<f32>, high: vec4<f32> }

// Codes k to k + 7; k is a multiple of 8.
fn codes8(row_word: u32, k: u32) -> Codes8 {
    let bit = k * BITS;
    let word = row_word + bit / 32u;
    let mask = (1u << BITS) - 1u;
    let step = vec4<u32>(0u, BITS, 2u * BITS, 3u * BITS);
    let a = codes[word] >> (bit % 32u);
    var b = a >> ((4u * BITS) % 32u);
    if BITS == 8u { b = codes[word + 1u]; }
    return Codes8(vec4<f32>((vec4(a) >> step) & vec4(mask)), vec4<f32>((vec4(b) >> step) & vec4(mask)));
}
