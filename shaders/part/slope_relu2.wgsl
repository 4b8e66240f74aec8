// The derivative of max(x, 0)^2.
fn slope(x: f32) -> f32 { return 2.0 * max(x, 0.0); }
