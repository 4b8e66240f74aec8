//! Rotary position embedding as a configuration describes it.

use super::fields::Fields;
use crate::error::{Error, Result};

/// The field with the context length before the frequencies were changed.
const ORIGINAL: &str = "original_max_position_embeddings";

/// Frequencies of the rotary position embedding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeConfig {
    /// Base of the geometric series of frequencies.
    pub theta: f64,
    /// How the frequencies were changed for longer contexts.
    pub scaling: RopeScaling,
}

/// A change of the rotary frequencies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// None.
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1: long wavelengths divided by `factor`, short ones kept, a ramp between.
    Llama3 {
        /// The divisor of long wavelengths.
        factor: f64,
        /// Wavelengths over `original_max_position_embeddings / low_freq_factor` count as long.
        low_freq_factor: f64,
        /// Wavelengths under `original_max_position_embeddings / high_freq_factor` count as short.
        high_freq_factor: f64,
        /// Context length before the change.
        original_max_position_embeddings: usize,
    },
}

impl RopeConfig {
    /// Reads `rope_theta` with `rope_scaling`, or the newer `rope_parameters` that holds both. An empty block counts as none,
    /// as it does for the programs that write these files; `default_theta` is the base where the file names none.
    pub(super) fn read(config: Fields<'_>, max_position_embeddings: usize, default_theta: f64) -> Result<Self> {
        let block = match config.object("rope_scaling", "rope_scaling.")?.filter(|block| !block.is_empty()) {
            Some(block) => Some(block),
            None => config.object("rope_parameters", "rope_parameters.")?,
        };
        let rotated = |fields: &Fields<'_>| match fields.optional_positive("partial_rotary_factor")? {
            Some(part) if part < 1.0 => Err(fields.bad(
                "partial_rotary_factor",
                part,
                "must be 1: rotating only a part of a head is not supported",
            )),
            _ => Ok(()),
        };
        rotated(&config)?;
        let mut theta = config.optional_positive("rope_theta")?;
        let mut scaling = RopeScaling::None;
        if let Some(block) = block {
            rotated(&block)?;
            theta = block.optional_positive("rope_theta")?.or(theta);
            // Of the whole file, else of the block; where neither names it, the context is still the original one.
            let original = match config.optional_size(ORIGINAL)? {
                Some(original) => original,
                None => block.optional_size(ORIGINAL)?.unwrap_or(max_position_embeddings),
            };
            scaling = RopeScaling::read(block, original)?;
        }
        Ok(Self { theta: theta.unwrap_or(default_theta), scaling })
    }
}

impl RopeScaling {
    fn read(block: Fields<'_>, original_max_position_embeddings: usize) -> Result<Self> {
        let kind = match block.optional_string("rope_type")? {
            Some(kind) => Some(kind),
            None => block.optional_string("type")?,
        };
        match kind.unwrap_or("default") {
            "default" => Ok(Self::None),
            "linear" => Ok(Self::Linear { factor: factor(block)? }),
            "llama3" => {
                let (low, high) = (block.positive("low_freq_factor")?, block.positive("high_freq_factor")?);
                if low >= high {
                    return Err(block.bad("high_freq_factor", high, &format!("must be over low_freq_factor, {low}")));
                }
                Ok(Self::Llama3 {
                    factor: factor(block)?,
                    low_freq_factor: low,
                    high_freq_factor: high,
                    original_max_position_embeddings,
                })
            }
            other => Err(Error::Unsupported {
                what: format!("RoPE scaling `{other}`"),
                remedy: "models with default, linear or llama3 scaling can be run".into(),
            }),
        }
    }
}

fn factor(block: Fields<'_>) -> Result<f64> {
    let factor = block.positive("factor")?;
    if factor < 1.0 {
        return Err(block.bad("factor", factor, "must be at least 1"));
    }
    Ok(factor)
}
