// The derivative of x * sigmoid(x); see src/activation.rs for this and its siblings.
fn slope(x: f32) -> f32 {
    let near = clamp(x, -80.0, 80.0);
    let sigmoid = 1.0 / (1.0 + exp(-near));
    return sigmoid * (1.0 + near * (1.0 - sigmoid));
}
