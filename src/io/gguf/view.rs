//! The tensors of a GGUF file under the names, and in the order of rows, of the family's own files.

use std::borrow::Cow;
use std::path::Path;

use serde_json::Value;

use super::config::architecture;
use super::header::{GgufHeader, GgufTensor};
use super::names::GgufArchitecture;
use super::rows;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::io::TensorInfo;
use crate::tensor::Tensor;

/// What a tensor of the file has that its description under the family's name does not tell.
#[derive(Clone, Debug)]
pub struct Place {
    /// The shape in the file.
    pub shape: Vec<usize>,
    /// The heads that share its rows, where these are in the order of rotary pairs.
    heads: Option<usize>,
    /// Whether the family's files have its axes exchanged.
    transposed: bool,
}

/// The tensors of a file, each with its place. One that the architecture does not know, or all of them where the
/// architecture is unknown, keep their names.
pub fn tensors(path: &Path, header: &GgufHeader) -> Vec<(TensorInfo, Place)> {
    let architecture = architecture(path, header).ok();
    let count = |name: &str| {
        let key = format!("llama.attention.{name}");
        header.settings.get(&key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
    };
    let heads = count("head_count");
    let kv_heads = count("head_count_kv").or(heads);
    let tensor = |tensor: &GgufTensor| {
        let GgufTensor { name, dtype, shape, range } = tensor.clone();
        let keys = architecture.and_then(|a| a.is_rotated(&name));
        let heads = keys.and_then(|keys| if keys { kv_heads } else { heads });
        let in_block = name.starts_with("blk.") && shape.len() == 2;
        let transposed = architecture == Some(GgufArchitecture::Gpt2) && in_block;
        let own = architecture.and_then(|a| a.family_name(&name)).unwrap_or(name);
        let mut place = Place { shape: shape.clone(), heads, transposed };
        // A head count that does not divide the rows is for the configuration to refuse.
        place.heads = place.heads.filter(|heads| shape[0].is_multiple_of(heads.saturating_mul(2).max(1)));
        let shape = if transposed { shape.into_iter().rev().collect() } else { shape };
        (TensorInfo { name: own, dtype, shape, range }, place)
    };
    header.tensors.iter().map(tensor).collect()
}

impl Place {
    /// The bytes of a tensor as the family's files have them, blocks as f32.
    pub fn plain<'a>(&self, info: &TensorInfo, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>> {
        let mut plain = match info.dtype.block() {
            Some(block) => Cow::Owned(Dtype::F32.encode(&block.values(bytes)?)),
            None => Cow::Borrowed(bytes),
        };
        if let Some(heads) = self.heads {
            plain = Cow::Owned(rows::to_family(&plain, self.shape[0], heads)?);
        }
        if let (true, Some(dtype)) = (self.transposed, info.dtype.plain().dtype()) {
            plain = Cow::Owned(Tensor::new(dtype, self.shape.clone(), plain)?.transposed().bytes().to_vec());
        }
        Ok(plain)
    }
}
