// The zero point of group i, one a byte.
fn zero_at(i: u32) -> f32 { return f32(extractBits(zeros[i / 4u], 8u * (i % 4u), 8u)); }
