// 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) as a sigmoid, which cannot overflow.
fn act(x: f32) -> f32 {
    let near = clamp(x, -16.0, 16.0);
    let exponent = -near * (1.5957692 + 0.071354814 * near * near);
    return x / (1.0 + exp(min(exponent, 80.0)));
}
