// Activations stored as f16, converted by the device.
@group(0) @binding(0) var<storage, read> x: array<f16>;
fn x_at(i: u32) -> f32 { return f32(x[i]); }
// Numbers in f16 that add up to one of x.
const X_HALVES = 1u;
