//! Attention through a cache, rotary positions.

use bitsmith::io::{RopeConfig, RopeScaling};
use bitsmith::op::{self, AttentionShape, KvCache, RopeTable, RowCache};
use bitsmith::{Error, Random, Recorder};

use crate::check::{Input, check};

const ROPE: RopeConfig = RopeConfig { theta: 100.0, scaling: RopeScaling::None };

fn shape(heads: usize, kv_heads: usize, head_dim: usize, window: Option<usize>) -> AttentionShape {
    AttentionShape { sequences: 2, heads, kv_heads, head_dim, past: 0, scale: 0.7, window }
}

#[test]
fn attention_through_a_cache() {
    for (heads, kv_heads, head_dim, window) in [(1, 1, 4, None), (4, 2, 3, None), (2, 1, 5, Some(3))] {
        let mut random = Random::new(10);
        let tokens = 6;
        let mut input = |heads: usize| Input::normal(2 * tokens, heads * head_dim, 0.7, &mut random);
        let inputs = [input(heads), input(kv_heads), input(kv_heads)];
        check("attention", &inputs, |rec, x| {
            let cache = KvCache::new(rec.device(), 2, tokens, kv_heads * head_dim)?;
            op::store_rows(rec, &x[1], &cache.keys, 0)?;
            op::store_rows(rec, &x[2], &cache.values, 0)?;
            op::attention(rec, &x[0], &cache, &shape(heads, kv_heads, head_dim, window))
        });
    }
}

#[test]
fn rotary_positions() {
    let mut random = Random::new(11);
    let tokens = 5;
    let mut input = || Input::normal(2 * tokens, 8, 0.7, &mut random);
    check("rope", &[input()], |rec, x| {
        let table = RopeTable::new(rec.device(), 4, &ROPE, 9)?;
        op::rope(rec, &x[0], &table, 2, 3)
    });
    check("rope into a cache", &[input(), input(), input()], |rec, x| {
        let table = RopeTable::new(rec.device(), 4, &ROPE, tokens)?;
        let cache = KvCache::new(rec.device(), 2, tokens, 8)?;
        let q = op::rope(rec, &x[0], &table, 2, 0)?;
        op::rope_into(rec, &x[1], &table, &cache.keys, 0)?;
        op::store_rows(rec, &x[2], &cache.values, 0)?;
        op::attention(rec, &q, &cache, &shape(2, 2, 4, None))
    });
}

/// The gradient of a part of a cache is not the gradient of the cache.
#[test]
fn a_cache_that_is_not_filled_is_refused() {
    let device = bitsmith::Device::cpu();
    let x = op::Activations::upload(&device, 2, 4, &[1.0; 8]).unwrap();
    let cache = RowCache::new(&device, 1, 3, 4).unwrap();
    let mut rec = Recorder::new(&device);
    rec.watch(&x.buffer);
    assert!(matches!(op::store_rows(&mut rec, &x, &cache, 0), Err(Error::Shape { .. })));
}
