// x * sigmoid(x); see src/activation.rs for this and its siblings.
fn act(x: f32) -> f32 { return x / (1.0 + exp(min(-x, 80.0))); }
