// The f32 bits of 16-bit floats, subnormals included: unpack2x16float may flush those.
fn f16_bits(word: u32, i: u32) -> u32 {
    let h = extractBits(word, 16u * (i & 1u), 16u);
    let size = h & 0x7fffu;
    var bits = (size << 13u) + 0x38000000u;
    if size < 0x0400u { bits = bitcast<u32>(f32(size) * (1.0 / 16777216.0)); }
    if size >= 0x7c00u { bits = (size << 13u) | 0x7f800000u; }
    return bits | ((h & 0x8000u) << 16u);
}
fn bf16_bits(word: u32, i: u32) -> u32 {
    return extractBits(word, 16u * (i & 1u), 16u) << 16u;
}
