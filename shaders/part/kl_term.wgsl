// p (d + e^-d - 1) for d = log p - log q: by its series where the terms would cancel.
fn term(p: f32, q: f32, d: f32) -> f32 {
    let rest = 1.0 - d / 5.0 * (1.0 - d / 6.0 * (1.0 - d / 7.0 * (1.0 - d / 8.0)));
    let near = p * (d * d) * 0.5 * (1.0 - d / 3.0 * (1.0 - d / 4.0 * rest));
    return select(p * (d - 1.0) + q, near, abs(d) < 0.5);
}
