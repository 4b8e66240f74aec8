//! Gradients of rounding: those of its surrogate, in which every rounding adds a constant, the one it added.

use bitsmith::op::{self, Activations, BestState, DenseWeight, SignSgd, TrainedWeight};
use bitsmith::{Device, Dtype, Quantization, Random, Recorder, Scheme, Tensor};

/// Of the largest gradient: sums over a group of f32 terms near 1, and the f16 scale's distance from the unrounded one.
const TOLERANCE: f64 = 1e-3;
/// The surrogate is smooth but for its corners, and computed in f64.
const STEP: f64 = 1e-6;

const SCHEMES: [&str; 6] = ["w4g16s", "w2g16s-f32", "w2g16a", "w3g32a-bf16", "w8ca", "w4cs"];

/// A weight with its trained parameters, on the host.
struct Case {
    scheme: Scheme,
    cols: usize,
    weight: Vec<f32>,
    offsets: Vec<f32>,
    factors: Vec<f32>,
    d_out: Vec<f32>,
}

impl Case {
    fn new(scheme: &str, seed: u32) -> Self {
        let scheme: Scheme = scheme.parse().expect("a scheme");
        let (rows, cols) = (3, 41);
        let mut random = Random::new(seed);
        let groups = scheme.groups(rows, cols).count();
        Self {
            scheme,
            cols,
            weight: random.normals(rows * cols),
            offsets: (0..rows * cols).map(|_| random.uniform() - 0.5).collect(),
            factors: (0..2 * groups).map(|_| 0.6 + 0.4 * random.uniform()).collect(),
            d_out: random.normals(rows * cols),
        }
    }

    fn rows(&self) -> usize {
        self.weight.len() / self.cols
    }

    fn upload(&self, rec: &mut Recorder) -> TrainedWeight {
        let device = rec.device().clone();
        let tensor = Tensor::from_f32(vec![self.rows(), self.cols], &self.weight).expect("a matrix");
        let weight = DenseWeight::upload(&device, &tensor).expect("it fits");
        let trained = TrainedWeight::new(rec, &weight, self.scheme).expect("it records");
        trained.with(device.upload(&self.offsets).expect("it fits"), device.upload(&self.factors).expect("it fits"))
    }

    /// Decoded values, gradient of the offsets, gradient of the factors.
    fn on_device(&self, device: &Device) -> [Vec<f32>; 3] {
        let mut rec = Recorder::new(device);
        let trained = self.upload(&mut rec);
        rec.watch(&trained.offsets);
        rec.watch(&trained.factors);
        let values = op::fake_quant(&mut rec, &trained).expect("it records").values;
        let d_out = Activations::upload(device, self.rows(), self.cols, &self.d_out).expect("it fits");
        let gradients = op::backward(&mut rec, &values, &d_out).expect("it records");
        rec.submit().expect("it runs");
        let of = |buffer| gradients.of(buffer).expect("it is watched").clone();
        [values.buffer, of(&trained.offsets), of(&trained.factors)]
            .map(|buffer| pollster::block_on(device.read(&buffer)).expect("it can be read"))
    }

    /// The surrogate of one group: the weighted sum of its decoded values, by offsets and the two factors. `at` are the
    /// parameters at which the roundings were made.
    fn surrogate(&self, range: std::ops::Range<usize>, at: (&[f64], [f64; 2]), now: (&[f64], [f64; 2])) -> f64 {
        let values: Vec<f64> = self.weight[range.clone()].iter().map(|w| f64::from(*w)).collect();
        let extreme = |pick: fn(f64, f64) -> f64| values.iter().copied().fold(0.0, pick);
        let (low, high) = (extreme(f64::min), extreme(f64::max));
        let bits = self.scheme.bits().get();
        let most = f64::from(self.scheme.bits().max_code());
        let middle = f64::from(1u32 << (bits - 1));
        let unrounded = |[low_factor, high_factor]: [f64; 2]| {
            let (low, high) = (low * low_factor, high * high_factor);
            match self.scheme.is_symmetric() {
                true => (low, if -low > high { -low / middle } else { -high / middle }),
                false => (low, (high - low) / most),
            }
        };
        let round = |x: f64| x.round_ties_even();
        let (low_at, scale_at) = unrounded(at.1);
        let stored = f64::from(self.scheme.scale_type().round(scale_at as f32));
        let (low_now, scale_now) = unrounded(now.1);
        let scale = scale_now + (stored - scale_at);
        let through = |now: f64, at: f64| now + (round(at) - at);
        let zero_at = if self.scheme.is_symmetric() { middle } else { round(-low_at / stored) };
        let zero = if self.scheme.is_symmetric() { middle } else { through(-low_now / scale, -low_at / stored) };
        let decoded = |i: usize| {
            let steps_at = values[i - range.start] / stored + at.0[i - range.start];
            let code = round(steps_at) + zero_at;
            // The ends of the range count as within, where a difference would see the corner.
            let within = (0.0..=most).contains(&code);
            let moved = through(values[i - range.start] / scale + now.0[i - range.start], steps_at) + zero;
            scale * (if within { moved } else { code.clamp(0.0, most) } - zero)
        };
        range.clone().map(|i| f64::from(self.d_out[i]) * decoded(i)).sum()
    }
}

#[test]
fn rounding_passes_gradients_straight_through() {
    for (seed, scheme) in SCHEMES.iter().cycle().take(60).enumerate() {
        let case = Case::new(scheme, u32::try_from(seed).unwrap());
        let [_, d_offsets, d_factors] = case.on_device(&Device::cpu());
        let groups = case.scheme.groups(case.rows(), case.cols);
        for row in 0..case.rows() {
            for k in 0..groups.per_row() {
                let (first, end) = (k * groups.size(), ((k + 1) * groups.size()).min(case.cols));
                let range = row * case.cols + first..row * case.cols + end;
                let group = row * groups.per_row() + k;
                let offsets: Vec<f64> = case.offsets[range.clone()].iter().map(|v| f64::from(*v)).collect();
                let factors = [0, 1].map(|end| f64::from(case.factors[2 * group + end]));
                let place = format!("{scheme}, seed {seed}, row {row}, group {k}");
                let derivative = |change: &dyn Fn(f64) -> (Vec<f64>, [f64; 2])| {
                    let value = |step: f64| {
                        let (moved, ends) = change(step);
                        case.surrogate(range.clone(), (&offsets, factors), (&moved, ends))
                    };
                    (value(STEP) - value(-STEP)) / (2.0 * STEP)
                };
                let expected: Vec<f64> = (0..offsets.len())
                    .map(|i| {
                        derivative(&|step| {
                            let mut moved = offsets.clone();
                            moved[i] += step;
                            (moved, factors)
                        })
                    })
                    .collect();
                near(&place, &d_offsets[range.clone()], &expected);
                let expected = [0, 1].map(|end| {
                    derivative(&|step| {
                        let mut ends = factors;
                        ends[end] += step;
                        (offsets.clone(), ends)
                    })
                });
                near(&place, &d_factors[2 * group..][..2], &expected);
            }
        }
    }
}

fn near(place: &str, found: &[f32], expected: &[f64]) {
    let largest = expected.iter().fold(0.1f64, |m, e| m.max(e.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*f) - e).abs() <= TOLERANCE * largest, "{place}, element {i}: {f} is not {e}, of {largest}");
    }
}

/// Offsets of 0 and factors of 1 are round to nearest, bit for bit, and what is saved decodes to what was trained.
#[test]
fn training_starts_at_the_nearest_code_and_ends_at_what_it_saw() {
    let device = Device::cpu();
    for (seed, (scheme, dtype)) in SCHEMES.into_iter().flat_map(|s| Dtype::ALL.map(|d| (s, d))).enumerate() {
        let case = Case::new(scheme, u32::try_from(100 + seed).unwrap());
        let (rows, cols) = (case.rows(), case.cols);
        let tensor = Tensor::new(dtype, vec![rows, cols], dtype.encode(&case.weight)).unwrap();
        let mut rec = Recorder::new(&device);
        let weight = DenseWeight::upload(&device, &tensor).unwrap();
        let start = TrainedWeight::new(&mut rec, &weight, case.scheme).unwrap();
        let other = case.upload(&mut rec);
        let moved = start.with(other.offsets, other.factors);
        let [first, trained] = [&start, &moved].map(|w| op::fake_quant(&mut rec, w).unwrap().values);
        rec.submit().unwrap();
        let read = |values: &Activations| bits(&pollster::block_on(values.read(&device)).unwrap());
        let decoded = |packed: &bitsmith::PackedTensor| bits(&packed.unpack().unwrap().dequantize());

        let nearest =
            pollster::block_on(op::quantize(&device, &tensor, &Quantization::from(case.scheme), "w")).unwrap();
        let saved = pollster::block_on(op::quantize_trained(&device, &start, "w")).unwrap();
        assert_eq!(saved, nearest, "{scheme} {dtype}");
        assert_eq!(read(&first), decoded(&nearest.0), "{scheme} {dtype}");
        let (saved, error) = pollster::block_on(op::quantize_trained(&device, &moved, "w")).unwrap();
        assert_eq!(read(&trained), decoded(&saved), "{scheme} {dtype}");
        assert!(error.mse() > nearest.1.mse());
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn a_weight_that_is_not_finite_is_named() {
    let device = Device::cpu();
    let tensor = Tensor::from_f32(vec![2, 3], &[0.0, 1.0, 2.0, 3.0, f32::INFINITY, 5.0]).unwrap();
    let mut rec = Recorder::new(&device);
    let weight = DenseWeight::upload(&device, &tensor).unwrap();
    let trained = TrainedWeight::new(&mut rec, &weight, "w4g16a".parse().unwrap()).unwrap();
    rec.submit().unwrap();
    let error = pollster::block_on(op::quantize_trained(&device, &trained, "layer")).unwrap_err();
    assert!(matches!(error, bitsmith::Error::NotFinite { row: 1, col: 1, .. }), "{error}");
}

/// A parabola of one parameter, whose best point lies between two steps: the best of them is kept, not the last.
#[test]
fn the_best_state_is_kept_and_not_the_last() {
    let device = Device::cpu();
    let target = Activations::upload(&device, 1, 1, &[0.375]).unwrap();
    let x = Activations::upload(&device, 1, 1, &[0.0]).unwrap();
    let kept = device.upload(&[0f32]).unwrap();
    let best = BestState::new(&device).unwrap();
    let sgd = SignSgd::new(&device, 1, 0.0, [-1.0, 1.0]).unwrap();
    for iteration in 0..5 {
        let mut rec = Recorder::new(&device);
        let error = op::squared_error(&mut rec, &x, &target).unwrap();
        best.enter(&mut rec, &error.sums, 1, iteration).unwrap();
        best.keep(&mut rec, &x.buffer, &kept).unwrap();
        // 0, 0.25, 0.5, 0.25, 0.5: the second is the first of the best.
        sgd.step(&mut rec, &x.buffer, &error.gradient.buffer, 0.25).unwrap();
        rec.submit().unwrap();
    }
    let found = pollster::block_on(best.read(&device)).unwrap();
    assert_eq!((found.loss, found.iteration, found.latest), (0.125 * 0.125, 1, 0.125 * 0.125));
    assert_eq!(pollster::block_on(device.read::<f32>(&kept)).unwrap(), [0.25]);
    assert_eq!(pollster::block_on(x.read(&device)).unwrap(), [0.25]);
}
