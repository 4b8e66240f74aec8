// The derivative of x * Phi(x): Phi(x) + x * phi(x), Phi by the fit of act_gelu.
fn slope(x: f32) -> f32 {
    let a = min(abs(x), 10.0);
    var fit = -1.6044322e-6;
    fit = fit * a + 2.3447223e-5;
    fit = fit * a - 1.1304113e-4;
    fit = fit * a - 1.2806921e-4;
    fit = fit * a + 4.9321195e-3;
    fit = fit * a - 3.6407687e-2;
    fit = fit * a - 3.182938e-1;
    fit = fit * a - 7.978857e-1;
    let tail = 0.5 * exp(a * fit);
    let near = clamp(x, -16.0, 16.0);
    let density = 0.3989423 * exp(max(-0.5 * near * near, -80.0));
    return select(1.0 - tail, tail, x < 0.0) + near * density;
}
