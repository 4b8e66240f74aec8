//! What one submission holds, and what a profile tells.

use bitsmith::model::{Model, Sampling, generate};
use bitsmith::op::{self, Activations};
use bitsmith::{Device, Recorder};
use libtest_mimic::{Failed, Trial};

type Outcome = Result<(), Failed>;

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("submissions/work and reading its result are one", || one(&Device::cpu())),
        Trial::test("submissions/a generated token is one", || token(&Device::cpu())),
        Trial::test("submissions/a profile runs every step and times it", || profile(&Device::cpu())),
    ]
}

/// Doubles four numbers, then shifts them: `[2, 3, 4, 5]` from ones.
fn record(device: &Device, recorder: &mut Recorder) -> bitsmith::Result<Activations> {
    let x = Activations::upload(device, 1, 4, &[1.0; 4])?;
    let doubled = op::add(recorder, &x, &x)?;
    let shift = Activations::upload(device, 1, 4, &[0.0, 1.0, 2.0, 3.0])?;
    op::add(recorder, &doubled, &shift)
}

const EXPECTED: [f32; 4] = [2.0, 3.0, 4.0, 5.0];

pub fn one(device: &Device) -> Outcome {
    let mut recorder = Recorder::new(device);
    let y = record(device, &mut recorder)?;
    let before = device.submissions();
    assert_eq!(pollster::block_on(recorder.submit_and_read::<f32>(&y.buffer))?, EXPECTED);
    assert_eq!(device.submissions() - before, 1);
    // A recording of another device is refused here too.
    let other = Device::cpu();
    let mut recorder = Recorder::new(&other);
    let y = record(&other, &mut recorder)?;
    let refused = pollster::block_on(device.submit_and_read(recorder.finish(), &[&y.buffer]));
    super::expect_error(refused, &["another device"])
}

/// No pipeline is created twice: those of the second token are all there.
pub fn token(device: &Device) -> Outcome {
    let model = Model::open("examples/tiny-llama".as_ref(), device)?;
    let (before, mut pipelines) = (device.submissions(), Vec::new());
    let each = |_| {
        pipelines.push(device.pipelines());
        true
    };
    let done = pollster::block_on(generate(&model, &[1, 5, 9], 4, Sampling::default(), each))?;
    assert_eq!(device.submissions() - before, done.tokens.len() as u64);
    // The prompt takes matrix products, one token the products with a vector.
    assert!(pipelines[1..].iter().all(|count| *count == pipelines[1]), "{pipelines:?}");
    Ok(())
}

pub fn profile(device: &Device) -> Outcome {
    let mut recorder = Recorder::new(device);
    let y = record(device, &mut recorder)?;
    match pollster::block_on(device.profile(recorder.finish()))? {
        Some(times) => {
            assert_eq!(times.iter().map(|t| t.kernel).collect::<Vec<_>>(), ["add", "add"]);
            assert!(times.iter().all(|t| t.seconds.is_finite() && t.seconds >= 0.0), "{times:?}");
        }
        None => assert_ne!(device.caps().backend, "cpu", "the CPU has a clock"),
    }
    assert_eq!(pollster::block_on(y.read(device))?, EXPECTED);
    let nothing = pollster::block_on(device.profile(Recorder::new(device).finish()))?;
    assert!(nothing.is_none_or(|times| times.is_empty()));
    Ok(())
}
