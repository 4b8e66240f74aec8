//! What a training moves.

use crate::device::Buffer;

/// A parameter under its name in the checkpoint. A cheap handle: it is the layer's own memory.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Name, unique in the model.
    pub name: String,
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// The values, f32, row-major.
    pub buffer: Buffer,
}

impl Parameter {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}
