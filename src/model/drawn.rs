//! The first values of a model that was never trained.

use std::path::Path;

use serde_json::Value;

use crate::device::Device;
use crate::error::{Error, Result};
use crate::random::Random;
use crate::tensor::Tensor;

/// Standard deviation of a weight where the configuration names none.
const DEVIATION: f64 = 0.02;
/// What configurations call it.
const FIELDS: [&str; 2] = ["initializer_range", "init_std"];
/// The ends of names of layers whose output is added to what goes around a block.
const RESIDUAL: [&str; 6] = ["o_proj", "out_proj", "down_proj", "fc2", "attn.c_proj", "mlp.c_proj"];

/// Draws tensors by name and shape: matrices with a mean of 0 and the deviation of the configuration, that of layers which
/// add to the residual stream divided by the root of how many add to it; vectors are 1, biases 0. A tensor depends on the
/// seed and its name alone.
#[derive(Debug)]
pub(super) struct Drawn {
    seed: u32,
    deviation: f32,
    residual: f32,
    most_bytes: u64,
}

impl Drawn {
    /// For a model of so many blocks; `path` and `config` are its configuration.
    ///
    /// # Errors
    /// [`Error::Format`] for a deviation that is none.
    pub(super) fn new(device: &Device, path: &Path, config: &Value, blocks: usize, seed: u32) -> Result<Self> {
        let given = FIELDS.iter().find_map(|field| Some((field, config.get(field).filter(|value| !value.is_null())?)));
        let deviation = match given {
            None => DEVIATION,
            Some((field, value)) => match value.as_f64() {
                Some(deviation) if deviation > 0.0 && deviation < 10.0 => deviation,
                _ => {
                    return Err(Error::format(path, format!("{field} is {value}; it must be a small positive number")));
                }
            },
        };
        // Attention and feed-forward each add once a block.
        let residual = deviation / (2.0 * blocks.max(1) as f64).sqrt();
        #[allow(clippy::cast_possible_truncation, reason = "weights are f32")]
        let [deviation, residual] = [deviation as f32, residual as f32];
        Ok(Self { seed, deviation, residual, most_bytes: device.caps().max_binding_bytes })
    }

    /// # Errors
    /// [`Error::Limit`] for a tensor that the device cannot hold in one piece.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor<'static>> {
        let elements = shape.iter().fold(1u64, |n, extent| n.saturating_mul(*extent as u64));
        let bytes = elements.saturating_mul(4);
        if bytes > self.most_bytes {
            return Err(Error::Limit { what: name.to_owned(), wanted: bytes, allowed: self.most_bytes });
        }
        let elements = shape.iter().product();
        let values = match shape {
            [_] if name.ends_with(".bias") => vec![0.0; elements],
            [_] => vec![1.0; elements],
            _ => {
                let layer = name.strip_suffix(".weight").unwrap_or(name);
                let residual = RESIDUAL.iter().any(|end| layer.ends_with(end));
                let deviation = if residual { self.residual } else { self.deviation };
                let mut random = Random::new(seed_of(self.seed, name));
                (0..elements).map(|_| random.normal() * deviation).collect()
            }
        };
        Tensor::from_f32(shape.to_vec(), &values)
    }
}

/// FNV-1a of seed and name.
fn seed_of(seed: u32, name: &str) -> u32 {
    let bytes = seed.to_le_bytes();
    bytes
        .iter()
        .chain(name.as_bytes())
        .fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_have_their_deviation_and_depend_on_their_name() {
        let config = serde_json::json!({"initializer_range": 0.5});
        let drawn = Drawn::new(&Device::cpu(), "config.json".as_ref(), &config, 8, 3).expect("it is usable");
        let values = |name: &str, shape: &[usize]| drawn.tensor(name, shape).expect("it fits").to_f32();
        let deviation = |values: &[f32]| (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt();
        let [plain, residual] = ["a.q_proj.weight", "a.o_proj.weight"].map(|name| values(name, &[100, 100]));
        assert!((deviation(&plain) - 0.5).abs() < 0.02 && (deviation(&residual) - 0.125).abs() < 0.005);
        assert_eq!(plain, values("a.q_proj.weight", &[100, 100]));
        assert_ne!(plain, values("b.q_proj.weight", &[100, 100]));
        assert_eq!((values("a.norm.weight", &[2]), values("a.fc1.bias", &[2])), (vec![1.0; 2], vec![0.0; 2]));
        let config = serde_json::json!({"init_std": -1});
        assert!(Drawn::new(&Device::cpu(), "config.json".as_ref(), &config, 8, 3).is_err());
        assert!(matches!(drawn.tensor("w", &[usize::MAX, 3]), Err(Error::Limit { .. })));
    }
}
