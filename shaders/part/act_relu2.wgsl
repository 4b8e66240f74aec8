// max(x, 0)^2.
fn act(x: f32) -> f32 { return max(x, 0.0) * max(x, 0.0); }
