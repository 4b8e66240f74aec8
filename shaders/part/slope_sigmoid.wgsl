// The derivative of the sigmoid.
fn slope(x: f32) -> f32 {
    let sigmoid = 1.0 / (1.0 + exp(-clamp(x, -80.0, 80.0)));
    return sigmoid * (1.0 - sigmoid);
}
