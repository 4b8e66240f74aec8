//! Optimisers, schedules and losses against vectors of tests/golden/training.json, which torch and transformers computed.

use bitsmith::op::{self, Activations, AdamW, AdamWConfig, Decay, RowLosses, Schedule};
use bitsmith::{Device, Error, Recorder, Result};
use serde_json::Value;

/// Of a parameter, whose steps add up: a few f32 roundings of each of some steps, and those of the moments over eps.
const STEPS: f32 = 1e-6;
/// Of a moment: a handful of f32 roundings in proportion to it.
const MOMENT: f32 = 1e-6;
/// Of a factor of a schedule, whose vectors are rounded to f32 too.
const FACTOR: f32 = 2.0 * f32::EPSILON;
/// Of a mean loss, and of the gradient of a logit beside the largest there can be: a handful of f32 roundings, and the error
/// of an exponential of a rounded difference of logits.
const LOSS: f32 = 2e-6;

fn entry(name: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("golden/training.json")).unwrap();
    all[name].clone()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[allow(clippy::cast_possible_truncation, reason = "the numbers are f32 values")]
fn floats(tensor: &Value) -> Vec<f32> {
    tensor["data"].as_array().unwrap().iter().map(|v| number(v) as f32).collect()
}

/// Compares with an allowance of `tolerance` times the expected value, or 1 if that is smaller than `least`.
#[track_caller]
fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, least: f32) {
    assert_eq!(found.len(), expected.len());
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= tolerance * e.abs().max(least), "element {i} is {f}, not {e}");
    }
}

#[test]
fn adamw_moves_as_torch_does() {
    let device = Device::cpu();
    for name in ["adamw", "adamw_decay"] {
        let golden = entry(name);
        let (gradients, after) = (floats(&golden["gradients"]), floats(&golden["after"]));
        let steps = u32::try_from(gradients.len() / 6).unwrap();
        let config = AdamWConfig {
            betas: [0, 1].map(|i| number(&golden["betas"][i])),
            eps: number(&golden["eps"]),
            weight_decay: number(&golden["weight_decay"]),
            ..AdamWConfig::default()
        };
        let parameter = device.upload(&floats(&golden["start"])).unwrap();
        let adamw = AdamW::new(&device, 6, config).unwrap();
        let schedule = Schedule { steps, warmup: 0, decay: Decay::Linear };
        for (step, (gradient, after)) in (0..).zip(gradients.chunks(6).zip(after.chunks(6))) {
            let gradient = device.upload(gradient).unwrap();
            let mut rec = Recorder::new(&device);
            let rate = number(&golden["lr"]) as f32 * schedule.factor(step);
            adamw.step(&mut rec, &parameter, &gradient, rate, step).unwrap();
            rec.submit().unwrap();
            assert_close(&pollster::block_on(device.read(&parameter)).unwrap(), after, STEPS, 1.0);
        }
        let [first, second] = adamw.moments().map(|moment| pollster::block_on(device.read::<f32>(moment)).unwrap());
        assert_close(&first, &floats(&golden["first"]), MOMENT, 0.1);
        assert_close(&second, &floats(&golden["second"]), MOMENT, 0.0);
    }
}

#[test]
fn parameters_stay_within_bounds() {
    let device = Device::cpu();
    let (parameter, gradient) = (device.upload(&[0.25f32, 0.75]).unwrap(), device.upload(&[1f32, -1.0]).unwrap());
    let config = AdamWConfig { bounds: [0.0, 1.0], ..AdamWConfig::default() };
    let adamw = AdamW::new(&device, 2, config).unwrap();
    let mut rec = Recorder::new(&device);
    adamw.step(&mut rec, &parameter, &gradient, 0.5, 0).unwrap();
    let other = device.upload(&[0f32; 3]).unwrap();
    assert!(matches!(adamw.step(&mut rec, &other, &other, 0.5, 1), Err(Error::Shape { op: "adamw_step", .. })));
    rec.submit().unwrap();
    assert_eq!(pollster::block_on(device.read::<f32>(&parameter)).unwrap(), [0.0, 1.0]);
}

#[test]
fn schedules_are_those_of_torch_and_transformers() {
    for golden in entry("schedules").as_array().unwrap() {
        let whole = |field: &str| u32::try_from(golden[field].as_u64().unwrap()).unwrap();
        for decay in [Decay::Constant, Decay::Linear, Decay::Cosine] {
            let Some(expected) = golden.get(decay.to_string()) else { continue };
            let schedule = Schedule { steps: whole("steps"), warmup: whole("warmup"), decay };
            let found: Vec<f32> = (0..=schedule.steps).map(|step| schedule.factor(step)).collect();
            assert_close(&found, &floats(expected), FACTOR, 1.0);
        }
    }
    assert_eq!(Schedule { steps: 3, warmup: 0, decay: Decay::Linear }.factor(9), 0.0);
    assert_eq!("cosine".parse::<Decay>().unwrap(), Decay::Cosine);
    assert!("square".parse::<Decay>().unwrap_err().to_string().contains("constant, linear, cosine"));
}

/// The losses of the rows and the gradient of the logits.
fn losses(record: impl FnOnce(&mut Recorder) -> Result<RowLosses>) -> [Vec<f32>; 2] {
    let device = Device::cpu();
    let mut rec = Recorder::new(&device);
    let found = record(&mut rec).unwrap();
    rec.submit().unwrap();
    [found.losses, found.gradient].map(|found| pollster::block_on(found.read(&device)).unwrap())
}

fn logits(rec: &Recorder, tensor: &Value) -> Activations {
    let values = floats(tensor);
    Activations::upload(rec.device(), values.len() / 9, 9, &values).unwrap()
}

#[test]
fn cross_entropy_and_its_gradient() {
    let golden = entry("cross_entropy");
    let scored = |target: i64| u32::try_from(target).unwrap_or(u32::MAX);
    let targets = golden["targets"]["data"].as_array().unwrap();
    let targets: Vec<u32> = targets.iter().map(|target| scored(target.as_i64().unwrap())).collect();
    let [found, gradient] = losses(|rec| op::cross_entropy(rec, &logits(rec, &golden["logits"]), &targets, 3));
    assert_close(&[found.iter().sum::<f32>() / 3.0], &floats(&golden["loss"]), LOSS, 1.0);
    assert_close(&gradient, &floats(&golden["gradient"]), LOSS, 1.0 / 3.0);
}

#[test]
fn divergence_and_its_gradient() {
    let golden = entry("kl");
    let [found, gradient] =
        losses(|rec| op::kl_loss(rec, &logits(rec, &golden["reference"]), &logits(rec, &golden["model"]), 3));
    assert_close(&[found.iter().sum::<f32>() / 3.0], &floats(&golden["loss"]), LOSS, 1.0);
    assert_close(&gradient, &floats(&golden["gradient"]), LOSS, 1.0 / 3.0);
}
