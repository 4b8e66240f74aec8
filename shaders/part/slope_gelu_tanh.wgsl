// The derivative of act_gelu_tanh.
fn slope(x: f32) -> f32 {
    let near = clamp(x, -16.0, 16.0);
    let exponent = -near * (1.5957692 + 0.071354814 * near * near);
    let sigmoid = 1.0 / (1.0 + exp(clamp(exponent, -80.0, 80.0)));
    return sigmoid + near * sigmoid * (1.0 - sigmoid) * (1.5957692 + 0.21406444 * near * near);
}
