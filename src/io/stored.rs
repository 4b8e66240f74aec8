//! The element types that a safetensors or a GGUF file may hold.

use std::fmt;

use crate::dtype::Dtype;
use crate::pack::BlockType;

/// Element type of a stored tensor. Only those with a [`Dtype`] are computed with; the others are kept as bytes. The last six
/// are [blocks](BlockType) of GGUF files: rows of whole blocks, which no safetensors file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the type that its format name says")]
#[allow(non_camel_case_types, reason = "the names of the format")]
pub enum StoredDtype {
    Bool,
    F4,
    F6E2M3,
    F6E3M2,
    U8,
    I8,
    F8E5M2,
    F8E4M3,
    F8E8M0,
    F8E4M3Fnuz,
    F8E5M2Fnuz,
    I16,
    U16,
    F16,
    Bf16,
    I32,
    U32,
    F32,
    C64,
    F64,
    I64,
    U64,
    Q4_0,
    Q4_1,
    Q8_0,
    Q2_K,
    TQ1_0,
    TQ2_0,
}

impl StoredDtype {
    /// Every type, with the name and the bits of an element that the format gives it; of a block the bits of all of it.
    const TABLE: [(Self, &'static str, usize); 28] = [
        (Self::Bool, "BOOL", 8),
        (Self::F4, "F4", 4),
        (Self::F6E2M3, "F6_E2M3", 6),
        (Self::F6E3M2, "F6_E3M2", 6),
        (Self::U8, "U8", 8),
        (Self::I8, "I8", 8),
        (Self::F8E5M2, "F8_E5M2", 8),
        (Self::F8E4M3, "F8_E4M3", 8),
        (Self::F8E8M0, "F8_E8M0", 8),
        (Self::F8E4M3Fnuz, "F8_E4M3FNUZ", 8),
        (Self::F8E5M2Fnuz, "F8_E5M2FNUZ", 8),
        (Self::I16, "I16", 16),
        (Self::U16, "U16", 16),
        (Self::F16, "F16", 16),
        (Self::Bf16, "BF16", 16),
        (Self::I32, "I32", 32),
        (Self::U32, "U32", 32),
        (Self::F32, "F32", 32),
        (Self::C64, "C64", 64),
        (Self::F64, "F64", 64),
        (Self::I64, "I64", 64),
        (Self::U64, "U64", 64),
        (Self::Q4_0, "Q4_0", 8 * BlockType::Q4_0.bytes()),
        (Self::Q4_1, "Q4_1", 8 * BlockType::Q4_1.bytes()),
        (Self::Q8_0, "Q8_0", 8 * BlockType::Q8_0.bytes()),
        (Self::Q2_K, "Q2_K", 8 * BlockType::Q2_K.bytes()),
        (Self::TQ1_0, "TQ1_0", 8 * BlockType::TQ1_0.bytes()),
        (Self::TQ2_0, "TQ2_0", 8 * BlockType::TQ2_0.bytes()),
    ];

    /// The blocks that it is, if it is no type of single elements.
    pub const fn block(self) -> Option<BlockType> {
        match self {
            Self::Q4_0 => Some(BlockType::Q4_0),
            Self::Q4_1 => Some(BlockType::Q4_1),
            Self::Q8_0 => Some(BlockType::Q8_0),
            Self::Q2_K => Some(BlockType::Q2_K),
            Self::TQ1_0 => Some(BlockType::TQ1_0),
            Self::TQ2_0 => Some(BlockType::TQ2_0),
            _ => None,
        }
    }

    /// The type that a safetensors file holds the same tensor in: blocks become f32.
    #[must_use]
    pub const fn plain(self) -> Self {
        if self.block().is_some() { Self::F32 } else { self }
    }

    /// Every element type.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::TABLE.iter().map(|row| row.0)
    }

    /// The type of this name, upper case as in the file.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// The name in the file: `F32`, `BF16`, `I32`.
    pub const fn name(self) -> &'static str {
        Self::TABLE[self as usize].1
    }

    /// Bits of one element, or of one block.
    pub const fn bits(self) -> usize {
        Self::TABLE[self as usize].2
    }

    /// The type to compute with, where there is one.
    pub const fn dtype(self) -> Option<Dtype> {
        match self {
            Self::F32 => Some(Dtype::F32),
            Self::F16 => Some(Dtype::F16),
            Self::Bf16 => Some(Dtype::Bf16),
            _ => None,
        }
    }

    /// Bytes of a tensor of `shape`: `None` if they are no whole number or over the address space.
    ///
    /// ```
    /// use bitsmith::io::StoredDtype;
    /// assert_eq!(StoredDtype::I32.bytes(&[2, 3]), Some(24));
    /// assert_eq!(StoredDtype::F4.bytes(&[3]), None);
    /// assert_eq!((StoredDtype::Q4_0.bytes(&[2, 64]), StoredDtype::Q4_0.bytes(&[2, 48])), (Some(72), None));
    /// ```
    pub fn bytes(self, shape: &[usize]) -> Option<usize> {
        let unit = self.block().map_or(1, BlockType::weights);
        // Blocks do not reach from one row into the next.
        if unit > 1 && !shape.last().is_some_and(|last| last.is_multiple_of(unit)) {
            return None;
        }
        let bits = shape.iter().try_fold(self.bits() as u128, |n, d| n.checked_mul(*d as u128))? / unit as u128;
        (bits % 8 == 0).then(|| usize::try_from(bits / 8).ok()).flatten()
    }
}

impl From<Dtype> for StoredDtype {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::Bf16 => Self::Bf16,
        }
    }
}

impl fmt::Display for StoredDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_variants() {
        for (index, dtype) in StoredDtype::all().enumerate() {
            assert_eq!(dtype as usize, index, "{dtype}");
            assert_eq!(StoredDtype::from_name(dtype.name()), Some(dtype));
        }
    }
}
