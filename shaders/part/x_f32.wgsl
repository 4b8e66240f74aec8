// Activations stored as f32.
@group(0) @binding(0) var<storage, read> x: array<f32>;
fn x_at(i: u32) -> f32 { return x[i]; }
// Numbers in f16 that add up to one of x.
const X_HALVES = 2u;
