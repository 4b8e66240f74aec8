//! The Gram matrix of what goes into a layer.

use std::ops::Range;

use crate::device::{Buffer, Device, Recorder};
use crate::error::Result;
use crate::model::Observer;
use crate::op::{self, Activations};

/// X'X over all inputs X that it was shown, f32, on the device, in parts that can be bound.
///
/// ```
/// use bitsmith::calib::GramMatrix;
/// use bitsmith::{Device, Recorder, model::Observer, op::Activations};
/// let device = Device::cpu();
/// let gram = GramMatrix::new(&device, 2)?;
/// for row in [[1.0, 2.0], [3.0, 4.0]] {
///     let x = Activations::upload(&device, 1, 2, &row)?;
///     let mut rec = Recorder::new(&device);
///     gram.observe(&mut rec, &x)?;
///     rec.submit()?;
/// }
/// assert_eq!(pollster::block_on(gram.read())?, [10.0, 14.0, 14.0, 20.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct GramMatrix {
    device: Device,
    features: usize,
    parts: Vec<(Range<usize>, Buffer)>,
}

impl GramMatrix {
    /// Of inputs with so many features.
    ///
    /// # Errors
    /// As the device refuses memory.
    pub fn new(device: &Device, features: usize) -> Result<Self> {
        let caps = device.caps();
        let most = usize::try_from(caps.max_binding_bytes.min(caps.max_buffer_bytes / 5 * 4)).unwrap_or(usize::MAX);
        let rows = (most / (features * 4).max(1)).max(1);
        let mut parts = Vec::new();
        for start in (0..features).step_by(rows) {
            let range = start..features.min(start + rows);
            let buffer = device.upload(&vec![0f32; range.len() * features])?;
            parts.push((range, buffer));
        }
        Ok(Self { device: device.clone(), features, parts })
    }

    /// Number of features.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The matrix, row-major.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn read(&self) -> Result<Vec<f32>> {
        let mut values = Vec::with_capacity(self.features * self.features);
        for (range, buffer) in &self.parts {
            let read: Vec<f32> = self.device.read(buffer).await?;
            values.extend_from_slice(&read[..range.len() * self.features]);
        }
        Ok(values)
    }
}

impl Observer for GramMatrix {
    fn observe(&self, rec: &mut Recorder, x: &Activations) -> Result<()> {
        self.parts.iter().try_for_each(|(features, to)| op::gram(rec, x, features.clone(), to, true))
    }
}
