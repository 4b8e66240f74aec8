//! Norms of rows and of heads.

use bitsmith::{Random, op};

use crate::check::{Input, check};

const EPS: f32 = 1e-5;

#[test]
fn rms_norms() {
    let mut random = Random::new(8);
    let x = Input::normal(4, 9, 1.0, &mut random);
    let weight = Input::normal(1, 9, 1.0, &mut random);
    check("rms_norm", &[x.clone(), weight], |rec, x| op::rms_norm(rec, &x[0], &x[1].buffer, EPS));
    let weight = Input::normal(1, 3, 1.0, &mut random);
    check("rms_norm_heads", &[x, weight], |rec, x| op::rms_norm_heads(rec, &x[0], 3, &x[1].buffer, EPS));
}

#[test]
fn layer_norms() {
    let mut random = Random::new(9);
    let x = Input::normal(4, 9, 1.0, &mut random);
    let [weight, bias] = [0, 1].map(|_| Input::normal(1, 9, 1.0, &mut random));
    check("layer_norm", &[x, weight, bias], |rec, x| op::layer_norm(rec, &x[0], &x[1].buffer, &x[2].buffer, EPS));
}
