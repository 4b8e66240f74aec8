//! Sums, biases, activations, gates.

use bitsmith::{Activation, Random, op};

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

#[test]
fn biases() {
    let mut random = Random::new(5);
    let inputs = [Input::normal(3, 5, 1.0, &mut random), Input::normal(1, 5, 1.0, &mut random)];
    check("add_bias", &inputs, |rec, x| {
        // In place, so on a sum of its own.
        let y = op::add(rec, &x[0], &x[0])?;
        op::add_bias(rec, &y, &x[1].buffer)?;
        Ok(y)
    });
}

#[test]
fn activations_and_gates() {
    for activation in Activation::ALL {
        let mut random = Random::new(6);
        // Away from 0, where a step would cross the corner of a ReLU.
        let mut input = || {
            let mut input = Input::normal(3, 5, 2.0, &mut random);
            input.values.iter_mut().for_each(|v| *v += 0.1_f32.copysign(*v));
            input
        };
        check(activation.name(), &[input()], |rec, x| op::activate(rec, activation, &x[0]));
        check(activation.name(), &[input(), input()], |rec, x| op::gate(rec, activation, &x[0], &x[1]));
    }
}
