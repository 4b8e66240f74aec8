// Activations stored as f16, converted bit by bit.
@group(0) @binding(0) var<storage, read> x: array<u32>;
fn x_at(i: u32) -> f32 { return bitcast<f32>(f16_bits(x[i / 2u], i)); }
