//! What an export wrote.

use super::number::bytes;
use crate::quant::Exported;

/// A short report: format, layers and sizes. Notes are not in it.
pub fn exported(exported: &Exported) -> String {
    let &Exported { layers, weights, layer_bytes, original_bytes, bytes: all, .. } = exported;
    let bits = layer_bytes as f64 * 8.0 / weights.max(1) as f64;
    format!(
        "{:<22}{layers} layers as {}\n{:<22}{} -> {}\n{:<22}{bits:.3} in quantized layers, scales counted\n",
        "exported",
        exported.format,
        "size",
        bytes(original_bytes),
        bytes(all),
        "bits per weight"
    )
}
