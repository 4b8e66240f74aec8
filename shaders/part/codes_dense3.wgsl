// Codes of 3 bits in a dense little-endian stream: 32 codes in 3 words, some straddling two.
override BITS: u32 = 3u;

fn code_at(row_word: u32, k: u32) -> u32 {
    let shift = (k * 3u) % 32u;
    let word = row_word + k * 3u / 32u;
    var code = codes[word] >> shift;
    if shift > 29u { code |= codes[word + 1u] << (32u - shift); }
    return code & 7u;
}

struct Codes8 { low: vec4<f32>, high: vec4<f32> }

// Codes k to k + 7; k is a multiple of 8, so the shift is 0, 8, 16 or 24.
fn codes8(row_word: u32, k: u32) -> Codes8 {
    let shift = (k * 3u) % 32u;
    let word = row_word + k * 3u / 32u;
    var a = codes[word] >> shift;
    if shift > 8u { a |= codes[word + 1u] << (32u - shift); }
    let step = vec4<u32>(0u, 3u, 6u, 9u);
    return Codes8(vec4<f32>((vec4(a) >> step) & vec4(7u)), vec4<f32>((vec4(a >> 12u) >> step) & vec4(7u)));
}
