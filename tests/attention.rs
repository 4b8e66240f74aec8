//! Attention: the twin and the CPU's fast implementation against the formula in f64, the cache, and what is refused.

use bitsmith::Random;
use bitsmith::dispatch::{Bindings, Kernel, View};
use bitsmith::kernel::attention::{self as kernel, Attention, Params};
use bitsmith::kernel::part::Reduce;
use bitsmith::op::{self, Activations, AttentionShape, KvCache};
use bitsmith::{Device, Error, Recorder};

/// Against f64: values reach about 4, scores are sums of up to 256 products, of f32's rounding each.
const TOLERANCE: f64 = 1e-5;

struct Data {
    shape: AttentionShape,
    tokens: usize,
    capacity: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl Data {
    fn new(tokens: usize, past: usize, (heads, kv_heads, head_dim): (usize, usize, usize)) -> Self {
        let (sequences, capacity) = (2, past + tokens + 1);
        let mut random = Random::new(11);
        let scale = 1.0 / (head_dim as f32).sqrt();
        Self {
            shape: AttentionShape { sequences, heads, kv_heads, head_dim, past, scale, window: None },
            tokens,
            capacity,
            q: random.normals(sequences * tokens * heads * head_dim),
            k: random.normals(sequences * capacity * kv_heads * head_dim),
            v: random.normals(sequences * capacity * kv_heads * head_dim),
        }
    }

    fn width(&self) -> usize {
        self.shape.kv_heads * self.shape.head_dim
    }

    fn formula(&self) -> Vec<f64> {
        let AttentionShape { sequences, heads, kv_heads, head_dim, past, scale, window } = self.shape;
        let mut out = Vec::new();
        for row in 0..sequences * self.tokens {
            let (sequence, position) = (row / self.tokens, past + row % self.tokens);
            let first = window.map_or(0, |w| (position + 1).saturating_sub(w));
            for head in 0..heads {
                let query = &self.q[(row * heads + head) * head_dim..][..head_dim];
                let at = |p: usize| (sequence * self.capacity + p) * self.width() + head * kv_heads / heads * head_dim;
                let score = |p: usize| -> f64 {
                    let products = query.iter().zip(&self.k[at(p)..]).map(|(a, b)| f64::from(*a) * f64::from(*b));
                    (products.sum::<f64>() * f64::from(scale)).exp()
                };
                let weights: Vec<f64> = (first..=position).map(score).collect();
                let total: f64 = weights.iter().sum();
                for d in 0..head_dim {
                    let values = weights.iter().zip(first..).map(|(w, p)| w * f64::from(self.v[at(p) + d]));
                    out.push(values.sum::<f64>() / total);
                }
            }
        }
        out
    }

    fn twin(&self) -> Vec<f32> {
        let s = self.shape;
        let word = |n: usize| u32::try_from(n).unwrap();
        let params = Params {
            sequences: word(s.sequences),
            tokens: word(self.tokens),
            heads: word(s.heads),
            kv_heads: word(s.kv_heads),
            head_dim: word(s.head_dim),
            past: word(s.past),
            capacity: word(self.capacity),
            scale: s.scale,
            window: word(s.window.unwrap_or(0)),
        };
        let mut out = vec![0; self.q.len()];
        let read = |values| View::Read(bytemuck::cast_slice::<f32, u32>(values));
        let views = vec![read(&self.q), read(&self.k), read(&self.v), View::Write(&mut out)];
        Attention::run(&params, &kernel::variant(Reduce::Shared), Bindings::new(views));
        bytemuck::cast_vec(out)
    }

    fn cache(&self, device: &Device) -> KvCache {
        let mut cache = KvCache::new(device, self.shape.sequences, self.capacity, self.width()).unwrap();
        cache.keys.buffer = device.upload(&self.k).unwrap();
        cache.values.buffer = device.upload(&self.v).unwrap();
        cache
    }

    fn fast(&self) -> Vec<f32> {
        let device = Device::cpu();
        let rows = self.shape.sequences * self.tokens;
        let q = Activations::upload(&device, rows, self.shape.heads * self.shape.head_dim, &self.q).unwrap();
        let mut rec = Recorder::new(&device);
        let out = op::attention(&mut rec, &q, &self.cache(&device), &self.shape).unwrap();
        rec.submit().unwrap();
        pollster::block_on(out.read(&device)).unwrap()
    }
}

fn assert_near(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*f) - e).abs() <= TOLERANCE, "element {i} is {f}, not {e}");
    }
}

#[test]
fn twin_and_fast_follow_the_formula() {
    for heads in [(4, 2, 1), (3, 3, 8), (4, 1, 33), (2, 2, 71), (4, 2, 128), (1, 1, 256), (6, 1, 12)] {
        for (tokens, past) in [(1, 0), (1, 70), (2, 5), (3, 1), (65, 0), (33, 64)] {
            for window in [None, Some(1), Some(5), Some(64)] {
                let mut data = Data::new(tokens, past, heads);
                data.shape.window = window;
                let expected = data.formula();
                assert_near(&data.twin(), &expected);
                assert_near(&data.fast(), &expected);
            }
        }
    }
}

/// Scores of several thousands, where an exponential of them would overflow.
#[test]
fn large_scores() {
    let mut data = Data::new(5, 66, (2, 1, 16));
    data.shape.scale = 1000.0;
    let (twin, fast) = (data.twin(), data.fast());
    assert!(twin.iter().chain(&fast).all(|x| x.is_finite()));
    for (a, b) in twin.iter().zip(&fast) {
        assert!((a - b).abs() < 1e-2, "{a} and {b}");
    }
}

/// Tokens one at a time through the cache, of which the rest is NaN, against all at once.
#[test]
fn one_token_at_a_time_equals_all_at_once() {
    for window in [None, Some(7), Some(100)] {
        let mut all = Data::new(150, 0, (4, 2, 24));
        all.shape.window = window;
        let expected = all.fast();
        let cols = all.q.len() / all.shape.sequences / all.tokens;
        for token in 0..all.tokens {
            let mut one = Data { tokens: 1, q: Vec::new(), k: all.k.clone(), v: all.v.clone(), ..all };
            one.shape.past = token;
            let hidden = (token + 1) * all.width()..all.capacity * all.width();
            for cache in [&mut one.k, &mut one.v] {
                cache.chunks_mut(all.capacity * all.width()).for_each(|c| c[hidden.clone()].fill(f32::NAN));
            }
            let row = |s: usize| (s * all.tokens + token) * cols..(s * all.tokens + token + 1) * cols;
            one.q = (0..all.shape.sequences).flat_map(|s| &all.q[row(s)]).copied().collect();
            let wanted = (0..all.shape.sequences).flat_map(|s| &expected[row(s)]).map(|x| f64::from(*x));
            assert_near(&one.fast(), &wanted.collect::<Vec<_>>());
        }
    }
}

#[test]
fn threads_do_not_change_the_result() {
    let data = Data::new(100, 3, (4, 2, 40));
    let one = Data::new(1, 600, (4, 2, 64));
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| (data.fast(), one.fast()))
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn what_does_not_fit_is_refused() {
    let device = Device::cpu();
    let shape = AttentionShape { sequences: 2, heads: 4, kv_heads: 2, head_dim: 8, past: 3, scale: 1.0, window: None };
    let attempt = |q: (usize, usize), cache: (usize, usize, usize), shape: AttentionShape| {
        let q = Activations::upload(&device, q.0, q.1, &vec![0.0; q.0 * q.1]).unwrap();
        let cache = KvCache::new(&device, cache.0, cache.1, cache.2).unwrap();
        op::attention(&mut Recorder::new(&device), &q, &cache, &shape).map(|out| (out.rows, out.cols))
    };
    assert_eq!(attempt((10, 32), (2, 8, 16), shape).unwrap(), (10, 32));
    let wrong = [
        ("a row too many", (11, 32), (2, 8, 16), shape),
        ("a column too few", (10, 31), (2, 8, 16), shape),
        ("a cache too short", (10, 32), (2, 7, 16), shape),
        ("a cache too narrow", (10, 32), (2, 8, 15), shape),
        ("a sequence too few", (10, 32), (1, 8, 16), shape),
        ("no sequence", (10, 32), (2, 8, 16), AttentionShape { sequences: 0, ..shape }),
        ("heads that do not divide", (10, 32), (2, 8, 24), AttentionShape { kv_heads: 3, ..shape }),
        ("no heads", (10, 32), (2, 8, 16), AttentionShape { kv_heads: 0, ..shape }),
        ("an empty window", (10, 32), (2, 8, 16), AttentionShape { window: Some(0), ..shape }),
    ];
    for (what, q, cache, shape) in wrong {
        let result = attempt(q, cache, shape);
        assert!(matches!(result, Err(Error::Shape { op: "attention", .. })), "{what}: {result:?}");
    }
    let large = AttentionShape { sequences: 1, heads: 1, kv_heads: 1, head_dim: 257, past: 0, ..shape };
    assert!(matches!(attempt((1, 257), (1, 1, 257), large), Err(Error::Unsupported { .. })));
}
