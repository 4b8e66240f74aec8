//! Why a network is run.

/// Whether a network is run to train it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// With dropout, and gradients of all parameters. What is dropped depends on these two numbers alone.
    Train {
        /// Seed of the training.
        seed: u32,
        /// The step of it.
        step: u32,
    },
    /// As it would be deployed.
    Eval,
}

impl Pass {
    /// The seed of what is dropped after a layer, if anything is.
    pub(super) fn seed_of(self, layer: usize) -> Option<u32> {
        /// Odd numbers with bits all over: neighbouring steps and layers give seeds that are far apart.
        const STEP: u32 = 0x9E37_79B1;
        const LAYER: u32 = 0x85EB_CA6B;
        match self {
            Self::Train { seed, step } => {
                #[allow(clippy::cast_possible_truncation, reason = "layers are few, and wrapping is harmless")]
                let layer = (layer as u32 + 1).wrapping_mul(LAYER);
                Some(seed ^ step.wrapping_add(1).wrapping_mul(STEP).rotate_left(16) ^ layer)
            }
            Self::Eval => None,
        }
    }
}
