//! Operations on the CPU device against vectors of tests/golden/ops.json, which torch computed in f64 from the same f32
//! inputs.

use bitsmith::io::{RopeConfig, RopeScaling};
use bitsmith::op::{self, Activations, RopeTable};
use bitsmith::{Activation, Buffer, Device, Recorder, Result};
use serde_json::Value;

/// A handful of f32 roundings of values of about 1, and of the vector itself.
const ROUNDING: f32 = 1e-6;

fn entry(name: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("golden/ops.json")).unwrap();
    all[name].clone()
}

#[allow(clippy::cast_possible_truncation, reason = "the numbers are f32 values")]
fn floats(tensor: &Value) -> Vec<f32> {
    tensor["data"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn upload(device: &Device, tensor: &Value, cols: usize) -> Activations {
    let values = floats(tensor);
    Activations::upload(device, values.len() / cols, cols, &values).unwrap()
}

fn vector(device: &Device, tensor: &Value) -> Buffer {
    device.upload(&floats(tensor)).unwrap()
}

fn run(device: &Device, record: impl FnOnce(&mut Recorder) -> Result<Activations>) -> Vec<f32> {
    let mut recorder = Recorder::new(device);
    let out = record(&mut recorder).unwrap();
    recorder.submit().unwrap();
    pollster::block_on(out.read(device)).unwrap()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= tolerance * e.abs().max(1.0), "element {i} is {f}, not {e}");
    }
}

#[test]
fn rms_norm() {
    let (golden, device) = (entry("rms_norm"), Device::cpu());
    let (x, weight) = (upload(&device, &golden["x"], 5), vector(&device, &golden["weight"]));
    let y = floats(&golden["y"]);
    assert_close(&run(&device, |rec| op::rms_norm(rec, &x, &weight, 1e-5)), &y, ROUNDING);
    let heads = upload(&device, &golden["x"], 10);
    assert_close(&run(&device, |rec| op::rms_norm_heads(rec, &heads, 2, &weight, 1e-5)), &y, ROUNDING);
}

#[test]
fn layer_norm() {
    let (golden, device) = (entry("layer_norm"), Device::cpu());
    let (x, weight) = (upload(&device, &golden["x"], 5), vector(&device, &golden["weight"]));
    let bias = vector(&device, &golden["bias"]);
    let y = run(&device, |rec| op::layer_norm(rec, &x, &weight, &bias, 1e-5));
    assert_close(&y, &floats(&golden["y"]), ROUNDING);
}

#[test]
fn rope() {
    /// transformers computes the powers in f32, which may err by two units in the last place.
    const FREQUENCY: f32 = 2.0 * f32::EPSILON;
    let number = |golden: &Value, field: &str| golden[field].as_f64().unwrap();
    for name in ["rope_default", "rope_linear", "rope_llama3"] {
        let (golden, device) = (entry(name), Device::cpu());
        let scaling = match name {
            "rope_default" => RopeScaling::None,
            "rope_linear" => RopeScaling::Linear { factor: number(&golden, "factor") },
            _ => RopeScaling::Llama3 {
                factor: number(&golden, "factor"),
                low_freq_factor: number(&golden, "low_freq_factor"),
                high_freq_factor: number(&golden, "high_freq_factor"),
                original_max_position_embeddings: 8192,
            },
        };
        let rope = RopeConfig { theta: number(&golden, "rope_theta"), scaling };
        for (found, expected) in op::inverse_frequencies(8, &rope).unwrap().iter().zip(floats(&golden["inv_freq"])) {
            assert!((found - expected).abs() <= FREQUENCY * expected, "{name}: {found} is not {expected}");
        }
        let table = RopeTable::new(&device, 8, &rope, 101).unwrap();
        let (x, y) = (floats(&golden["x"]), floats(&golden["y"]));
        for (token, position) in [0, 1, 5, 100].into_iter().enumerate() {
            let token = token * 16..(token + 1) * 16;
            let x = Activations::upload(&device, 1, 16, &x[token.clone()]).unwrap();
            let turned = run(&device, |rec| op::rope(rec, &x, &table, 1, position));
            assert_close(&turned, &y[token], ROUNDING + FREQUENCY * position as f32);
        }
    }
}

#[test]
fn activations() {
    let table = [
        ("gelu_exact", Activation::Gelu),
        ("gelu_tanh", Activation::GeluTanh),
        ("relu", Activation::Relu),
        ("relu2", Activation::ReluSquared),
    ];
    let device = Device::cpu();
    for (name, activation) in table {
        let golden = entry(name);
        let x = upload(&device, &golden["x"], 1);
        let y = run(&device, |rec| op::activate(rec, activation, &x));
        assert_close(&y, &floats(&golden["y"]), ROUNDING);
    }
    let golden = entry("silu_gate");
    let (gate, up) = (upload(&device, &golden["g"], 4), upload(&device, &golden["u"], 4));
    let y = run(&device, |rec| op::gate(rec, Activation::Silu, &gate, &up));
    assert_close(&y, &floats(&golden["y"]), ROUNDING);
}
