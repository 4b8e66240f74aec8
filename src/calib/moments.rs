//! The second moments of what goes into a layer.

use crate::device::{Buffer, Device, Recorder};
use crate::error::Result;
use crate::model::Observer;
use crate::op::{self, Activations};

/// The sum of squares of each feature over all inputs that it was shown, on the device: the diagonal of
/// [`GramMatrix`](super::GramMatrix), for those who need no more.
///
/// ```
/// use bitsmith::calib::SecondMoments;
/// use bitsmith::{Device, Recorder, model::Observer, op::Activations};
/// let device = Device::cpu();
/// let moments = SecondMoments::new(&device, 2)?;
/// for row in [[1.0, 2.0], [3.0, 4.0]] {
///     let x = Activations::upload(&device, 1, 2, &row)?;
///     let mut rec = Recorder::new(&device);
///     moments.observe(&mut rec, &x)?;
///     rec.submit()?;
/// }
/// assert_eq!(pollster::block_on(moments.read())?, [10.0, 20.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct SecondMoments {
    device: Device,
    sums: Buffer,
}

impl SecondMoments {
    /// Of inputs with so many features.
    ///
    /// # Errors
    /// As the device refuses memory.
    pub fn new(device: &Device, features: usize) -> Result<Self> {
        Ok(Self { device: device.clone(), sums: device.upload(&vec![0f32; features])? })
    }

    /// The sums.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn read(&self) -> Result<Vec<f32>> {
        let mut sums: Vec<f32> = self.device.read(&self.sums).await?;
        sums.truncate(self.sums.bytes() / 4);
        Ok(sums)
    }
}

impl Observer for SecondMoments {
    fn observe(&self, rec: &mut Recorder, x: &Activations) -> Result<()> {
        op::second_moment(rec, x, &self.sums, true)
    }
}
