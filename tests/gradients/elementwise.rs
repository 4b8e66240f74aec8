//! Sums, biases, activations, gates.

use bitsmith::{Random, op};

use crate::check::{Input, check};

#[test]
fn sums() {
    let mut random = Random::new(1);
    let mut input = || Input::normal(3, 5, 1.0, &mut random);
    check("add", &[input(), input()], |rec, x| op::add(rec, &x[0], &x[1]));
    check("a value used twice", &[input(), input()], |rec, x| {
        let once = op::add(rec, &x[0], &x[1])?;
        op::add(rec, &once, &x[0])
    });
}
