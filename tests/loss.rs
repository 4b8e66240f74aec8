//! Losses, argmax and KL: the operations on the CPU against formulas in f64, and what is refused.

use bitsmith::Random;
use bitsmith::device::Buffer;
use bitsmith::op::{self, Activations};
use bitsmith::{Device, Error, Recorder, Result};

/// Against f64, relative to the loss or 1: the logarithm of a sum of up to 1000 exponentials in f32.
const LOSS_TOLERANCE: f64 = 2e-6;
/// KL is a sum of terms of one sign, so the error of one term counts, most of it from `d`: f32's rounding of a
/// logit relative to a difference of logits of 1e-3.
const KL_TOLERANCE: f64 = 1e-4;

/// Activations of rows of `cols` values on the CPU.
fn rows(device: &Device, cols: usize, values: &[f32]) -> Activations {
    Activations::upload(device, values.len() / cols, cols, values).unwrap()
}

/// What an operation leaves on the CPU.
fn run<T: bytemuck::Pod>(operation: impl FnOnce(&mut Recorder, &Device) -> Result<Buffer>) -> Vec<T> {
    let device = Device::cpu();
    let mut rec = Recorder::new(&device);
    let buffer = operation(&mut rec, &device).unwrap();
    rec.submit().unwrap();
    pollster::block_on(device.read(&buffer)).unwrap()
}

fn kl(cols: usize, reference: &[f32], model: &[f32]) -> Vec<f32> {
    run(|rec, device| op::kl(rec, &rows(device, cols, reference), &rows(device, cols, model)))
}

fn log_softmax(row: &[f32]) -> Vec<f64> {
    let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
    let largest = row.iter().copied().fold(f64::MIN, f64::max);
    let sum: f64 = row.iter().map(|x| (x - largest).exp()).sum();
    row.iter().map(|x| (x - largest) - sum.ln()).collect()
}

fn divergence(p: &[f32], q: &[f32]) -> f64 {
    log_softmax(p).iter().zip(log_softmax(q)).map(|(p, q)| p.exp() * (p - q)).sum()
}

#[test]
fn losses_follow_the_formula() {
    for vocab in [1u32, 7, 257, 1000] {
        for size in [0.0, 3.0, 1e4] {
            let mut random = Random::new(vocab);
            let logits: Vec<f32> = random.normals(5 * vocab as usize).iter().map(|x| x * size).collect();
            let targets: Vec<u32> = (0..5).map(|i| if i == 3 { u32::MAX } else { random.below(vocab) }).collect();
            let losses: Vec<f32> = run(|rec, device| op::nll(rec, &rows(device, vocab as usize, &logits), &targets));
            for ((row, target), loss) in logits.chunks(vocab as usize).zip(&targets).zip(losses) {
                let expected = log_softmax(row).get(*target as usize).map_or(0.0, |l| -l);
                let error = (f64::from(loss) - expected).abs();
                assert!(error <= LOSS_TOLERANCE * expected.max(1.0), "{loss}, not {expected}");
            }
        }
    }
}

#[test]
fn the_largest_is_the_first_of_equals() {
    let cases: [(&[f32], u32); 7] = [
        (&[1.0, 3.0, 3.0, 2.0], 1),
        (&[-5.0, -4.0, -4.5, -4.0], 1),
        (&[-0.0, 0.0, -0.0, 0.0], 0),
        (&[0.0, 1e-45, 3e-45, 1e-45], 2),
        (&[-3e-45, -1e-45, -3e-45, -1e-45], 1),
        (&[f32::NEG_INFINITY, f32::MIN, f32::NEG_INFINITY, f32::MIN], 1),
        (&[f32::MAX, 1e4, f32::INFINITY, f32::INFINITY], 2),
    ];
    let values: Vec<f32> = cases.iter().flat_map(|c| c.0).copied().collect();
    let found: Vec<u32> = run(|rec, device| op::argmax(rec, &rows(device, 4, &values)));
    assert_eq!(found, cases.map(|c| c.1));
}

#[test]
fn divergences_follow_the_formula_down_to_tiny_ones() {
    for vocab in [7, 257, 1000] {
        for size in [3.0, 100.0] {
            for distance in [1e-3, 0.03, 1.0, 10.0] {
                let mut random = Random::new(5);
                let reference: Vec<f32> = random.normals(8 * vocab).iter().map(|x| x * size).collect();
                let model: Vec<f32> = reference.iter().map(|x| x + distance * random.normal()).collect();
                let found = kl(vocab, &reference, &model);
                for ((p, q), found) in reference.chunks(vocab).zip(model.chunks(vocab)).zip(found.chunks(3)) {
                    for (expected, found) in [divergence(p, q), divergence(q, p)].into_iter().zip(found) {
                        // Where one token has all the probability the terms of the others fall below f32's range.
                        let error = (f64::from(*found) - expected).abs();
                        assert!(error <= KL_TOLERANCE * expected + 1e-12, "{found:e}, not {expected:e}");
                        assert!(*found >= 0.0);
                    }
                }
            }
        }
    }
}

#[test]
fn equal_rows_do_not_diverge() {
    let logits = Random::new(3).normals(4 * 500);
    assert!(kl(500, &logits, &logits).chunks(3).all(|row| row == [0.0, 0.0, 1.0]));
    // A shift of every logit changes nothing but their rounding.
    let shifted: Vec<f32> = logits.iter().map(|x| x + 64.0).collect();
    /// Half the square of the rounding of a logit near 64.
    const FLOOR: f32 = 2e-11;
    for row in kl(500, &logits, &shifted).chunks(3) {
        assert!(row[0] <= FLOOR && row[1] <= FLOOR && row[2] == 1.0, "{row:?}");
    }
}

#[test]
fn far_apart_rows_stay_finite() {
    let found = kl(3, &[1e4, 0.0, -1e4, 0.0, 0.0, 0.0], &[-1e4, 0.0, 1e4, 0.0, 1.0, 0.0]);
    assert_eq!(found[..3], [2e4, 2e4, 0.0]);
    assert_eq!(found[5], 0.0);
}

#[test]
fn what_does_not_fit_is_refused() {
    let device = Device::cpu();
    let mut rec = Recorder::new(&device);
    let logits = rows(&device, 3, &[0.0; 6]);
    assert!(matches!(op::nll(&mut rec, &logits, &[0]), Err(Error::Shape { op: "nll", .. })));
    assert!(matches!(op::nll(&mut rec, &logits, &[0, 3]), Err(Error::Shape { op: "nll", .. })));
    let other = rows(&device, 2, &[0.0; 6]);
    assert!(matches!(op::kl(&mut rec, &logits, &other), Err(Error::Shape { op: "kl", .. })));
    let none = Activations { rows: 0, ..logits };
    assert!(matches!(op::argmax(&mut rec, &none), Err(Error::Shape { op: "argmax", .. })));
}
