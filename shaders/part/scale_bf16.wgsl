// The scale of group i, stored as bf16.
fn scale_at(i: u32) -> f32 { return bitcast<f32>(bf16_bits(scales[i / 2u], i)); }
