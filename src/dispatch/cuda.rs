//! What CUDA adds to the contract: how a kernel is launched there, and how a variant reaches it.
//!
//! A kernel's entry takes one pointer for each binding, then the parameters by value, then the variant by value: eight
//! numbers of parts in the order of [`ROLES`] (the eighth is free), and the constants in the order in which they were set.

use super::variant::{MOST_CONSTANTS, Role, Variant};

/// A launch other than one block a workgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CudaLaunch {
    /// Name of the entry in the kernel's PTX.
    pub entry: &'static str,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: u32,
    /// Bytes of shared memory beyond what the entry declares itself.
    pub shared: u32,
}

/// Roles in the order of the numbers that a CUDA kernel gets.
const ROLES: [Role; 7] =
    [Role::Weight, Role::Activation, Role::Scale, Role::Codes, Role::Zero, Role::Function, Role::Slope];

/// Words of a variant on CUDA.
pub const CUDA_VARIANT_WORDS: usize = 8 + MOST_CONSTANTS;

impl Variant {
    /// The variant as a CUDA kernel takes it.
    ///
    /// ```
    /// use bitsmith::{Bits, Dtype, kernel::{matmul_group, part::InputType}};
    /// let variant = matmul_group::variant(Bits::new(4)?, true, Dtype::F16, InputType::F32);
    /// assert_eq!(variant.cuda(), [0, 1, 2, 1, 1, 0, 0, 0, 4, 0, 0, 0]);
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    pub fn cuda(&self) -> [u32; CUDA_VARIANT_WORDS] {
        let mut words = [0; CUDA_VARIANT_WORDS];
        for (word, role) in words.iter_mut().zip(ROLES) {
            *word = self.of(role).map_or(0, |part| part.id);
        }
        for (word, (_, value)) in words[8..].iter_mut().zip(self.constants()) {
            *word = value;
        }
        words
    }
}
