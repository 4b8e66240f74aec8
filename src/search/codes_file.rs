//! The codes of one layer in a file: a line that describes them, then codes, scales and zero points, little-endian.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::io::{Checksum, Digest, replace};
use crate::op::WeightError;
use crate::pack::PackedTensor;
use crate::quant::QuantizedLayer;
use crate::scheme::Scheme;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    scheme: Scheme,
    rows: usize,
    cols: usize,
    words: usize,
    groups: usize,
    zeros: bool,
    error: WeightError,
}

/// Writes the codes of a layer, in one step, and waits until the disk has them.
pub(super) fn write_codes(path: &Path, layer: &QuantizedLayer) -> Result<Digest> {
    let QuantizedLayer { weight, error } = layer;
    let PackedTensor { scheme, rows, cols, codes, scales, zeros, kept: _ } = weight;
    let head = Head {
        scheme: *scheme,
        rows: *rows,
        cols: *cols,
        words: codes.len(),
        groups: scales.len(),
        zeros: zeros.is_some(),
        error: *error,
    };
    let mut bytes = serde_json::to_vec(&head).map_err(|e| Error::format(path, e.to_string()))?;
    bytes.push(b'\n');
    bytes.extend(codes.iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend(scales.iter().flat_map(|scale| scale.to_le_bytes()));
    bytes.extend(zeros.iter().flatten());
    replace(path, &bytes)?;
    Ok(Checksum::of(&bytes))
}

/// Reads what [`write_codes`] wrote.
pub(super) fn read_codes(path: &Path, digest: Digest) -> Result<QuantizedLayer> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let damaged = || Error::format(path, "is not as it was saved; start again without --resume");
    if Checksum::of(&bytes) != digest {
        return Err(damaged());
    }
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
    let head: Head = serde_json::from_slice(&bytes[..end]).map_err(|_| damaged())?;
    let (words, rest) = bytes[end + 1..].split_at_checked(4 * head.words).ok_or_else(damaged)?;
    let (scales, zeros) = rest.split_at_checked(4 * head.groups).ok_or_else(damaged)?;
    let weight = PackedTensor {
        scheme: head.scheme,
        rows: head.rows,
        cols: head.cols,
        codes: words.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect(),
        scales: scales.as_chunks::<4>().0.iter().map(|scale| f32::from_le_bytes(*scale)).collect(),
        zeros: head.zeros.then(|| zeros.to_vec()),
        kept: None,
    };
    weight.check().map_err(|_| damaged())?;
    Ok(QuantizedLayer { weight, error: head.error })
}
