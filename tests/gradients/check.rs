//! The check that every gradient passes.

use bitsmith::op::{self, Activations};
use bitsmith::{Buffer, Device, Random, Recorder, Result};

/// Steps of central differences, either of which may confirm a gradient: with values near 1 a result is known to about
/// 1e-6, so a difference over 2 * 1e-2 is known to about 1e-4 of it; but so large a step may cross the corner of a ReLU.
const STEPS: [f32; 2] = [1e-2, 1e-3];
/// Of the largest derivative of the input: several times the error above, for sums over a few hundred results.
const TOLERANCE: f64 = 2e-3;

/// An input that gradients are asked for: row-major values of `[rows, cols]`.
#[derive(Clone)]
pub struct Input {
    pub rows: usize,
    pub cols: usize,
    pub values: Vec<f32>,
}

impl Input {
    /// Normal values times `size`.
    pub fn normal(rows: usize, cols: usize, size: f32, random: &mut Random) -> Self {
        Self { rows, cols, values: random.normals(rows * cols).iter().map(|v| v * size).collect() }
    }
}

/// Compares the gradients that the tape gives for `forward` on the CPU with central differences of
/// `sum(weights * forward(inputs))`, the weights random. Other devices run the same kernels in the conformance suite.
pub fn check(name: &str, inputs: &[Input], forward: impl Fn(&mut Recorder, &[Activations]) -> Result<Activations>) {
    check_some(name, inputs, usize::MAX, TOLERANCE, forward);
}

/// [`check`] for about `some` elements of each input, with a tolerance of its own.
pub fn check_some(
    name: &str,
    inputs: &[Input],
    some: usize,
    tolerance: f64,
    forward: impl Fn(&mut Recorder, &[Activations]) -> Result<Activations>,
) {
    let device = Device::cpu();
    let (size, found) = gradients(&device, inputs, &forward);
    let weights = weights(size);
    compare(name, inputs, &found, some, tolerance, |inputs| {
        let y = evaluate(&device, inputs, &forward);
        y.iter().zip(&weights).map(|(y, w)| f64::from(*y) * f64::from(*w)).sum()
    });
}

/// The same for a loss that comes with its gradients: `record` gives the losses of rows, of which the mean counts, and the
/// gradient of each input.
pub fn check_loss(
    name: &str,
    inputs: &[Input],
    some: usize,
    record: impl Fn(&mut Recorder, &[Activations]) -> Result<(Activations, Vec<Buffer>)>,
) {
    let device = Device::cpu();
    let run = |inputs: &[Input]| {
        let mut rec = Recorder::new(&device);
        let (losses, gradients) = record(&mut rec, &upload(&device, inputs)).expect("the loss records");
        rec.submit().expect("the recording runs");
        let losses = pollster::block_on(losses.read(&device)).expect("losses can be read");
        (losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / losses.len() as f64, gradients)
    };
    let read = |(input, gradient): (&Input, &Buffer)| {
        let mut values = pollster::block_on(device.read::<f32>(gradient)).expect("gradients can be read");
        values.truncate(input.values.len());
        values
    };
    let found: Vec<Vec<f32>> = inputs.iter().zip(&run(inputs).1).map(read).collect();
    compare(name, inputs, &found, some, TOLERANCE, |inputs| run(inputs).0);
}

/// Compares about `some` elements of the gradients of each input with differences of `value`.
fn compare(
    name: &str,
    inputs: &[Input],
    found: &[Vec<f32>],
    some: usize,
    tolerance: f64,
    value: impl Fn(&[Input]) -> f64,
) {
    assert_eq!(found.len(), inputs.len());
    for (index, gradient) in found.iter().enumerate() {
        let largest = gradient.iter().fold(0f64, |m, g| m.max(f64::from(*g).abs())).max(1e-3);
        for (at, found) in gradient.iter().enumerate().step_by(gradient.len().div_ceil(some)) {
            let at_step = |step: f32| {
                let mut inputs = inputs.to_vec();
                inputs[index].values[at] += step;
                (inputs[index].values[at], value(&inputs))
            };
            let expected = STEPS.map(|step| {
                let ((above, up), (below, down)) = (at_step(step), at_step(-step));
                (up - down) / f64::from(above - below)
            });
            let near = |expected: f64| (f64::from(*found) - expected).abs() <= tolerance * largest;
            let place = format!("{name}: input {index}, element {at}");
            assert!(expected.into_iter().any(near), "{place}: {found} is not {expected:?}, largest {largest}");
        }
    }
}

fn upload(device: &Device, inputs: &[Input]) -> Vec<Activations> {
    let upload = |i: &Input| Activations::upload(device, i.rows, i.cols, &i.values).expect("inputs are not empty");
    inputs.iter().map(upload).collect()
}

fn weights(count: usize) -> Vec<f32> {
    Random::new(7).normals(count)
}

fn evaluate(
    device: &Device,
    inputs: &[Input],
    forward: &impl Fn(&mut Recorder, &[Activations]) -> Result<Activations>,
) -> Vec<f32> {
    let mut rec = Recorder::new(device);
    let y = forward(&mut rec, &upload(device, inputs)).expect("the forward pass records");
    rec.submit().expect("the forward pass runs");
    pollster::block_on(y.read(device)).expect("the result can be read")
}

/// The number of results, and the gradient of each input.
fn gradients(
    device: &Device,
    inputs: &[Input],
    forward: &impl Fn(&mut Recorder, &[Activations]) -> Result<Activations>,
) -> (usize, Vec<Vec<f32>>) {
    let inputs = upload(device, inputs);
    let mut rec = Recorder::new(device);
    inputs.iter().for_each(|input| rec.watch(&input.buffer));
    let y = forward(&mut rec, &inputs).expect("the forward pass records");
    let size = y.rows * y.cols;
    let d_y = Activations::upload(device, y.rows, y.cols, &weights(size)).expect("results are not empty");
    let gradients = op::backward(&mut rec, &y, &d_y).expect("the way back records");
    rec.submit().expect("the recording runs");
    let read = |input: &Activations| {
        let gradient = gradients.of(&input.buffer).expect("every input moves the result");
        let mut values = pollster::block_on(device.read::<f32>(gradient)).expect("gradients can be read");
        values.truncate(input.rows * input.cols);
        values
    };
    (size, inputs.iter().map(read).collect())
}
