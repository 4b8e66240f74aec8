//! What moves parameters along their gradients.

use super::checks::{same_size, size};
use crate::device::{Buffer, Device, Recorder};
use crate::error::Result;
use crate::kernel::adamw_step::{self, AdamWStep};
use crate::kernel::sign_step::{self, SignStep};

/// A parameter that `SignSGD` trains.
#[derive(Clone, Debug)]
pub struct SignSgd {
    momentum: f32,
    bounds: [f32; 2],
    trace: Buffer,
}

impl SignSgd {
    /// For a parameter of so many elements that stays within bounds.
    ///
    /// # Errors
    /// As the device refuses memory.
    pub fn new(device: &Device, elements: usize, momentum: f32, bounds: [f32; 2]) -> Result<Self> {
        let trace = if momentum == 0.0 { 1 } else { elements };
        Ok(Self { momentum, bounds, trace: device.upload(&vec![0f32; trace])? })
    }

    /// Records a step of `rate` against the sign of a gradient or, with a momentum, of
    /// `trace = momentum * trace + gradient`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if the sizes differ, and those of recording.
    pub fn step(&self, rec: &mut Recorder, parameter: &Buffer, gradient: &Buffer, rate: f32) -> Result<()> {
        same_size("sign_step", gradient, parameter)?;
        let [low, high] = self.bounds;
        let count = size("sign_step", parameter.bytes() / 4)?;
        let params = sign_step::Params { count, rate, momentum: self.momentum, low, high };
        rec.dispatch::<SignStep>(&params, sign_step::variant(), &[gradient, parameter, &self.trace])
    }
}

/// Settings of [`AdamW`]. The defaults are PyTorch's, but for the weight decay, of which there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Shares of the first and the second moment that are kept from step to step, below 1.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of a parameter that a step of length 1 takes away.
    pub weight_decay: f64,
    /// Smallest and largest value that a parameter may take.
    pub bounds: [f32; 2],
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0, bounds: [f32::MIN, f32::MAX] }
    }
}

/// A parameter that `AdamW` trains: Adam with decoupled weight decay, as PyTorch computes it.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{AdamW, AdamWConfig}};
/// let device = Device::cpu();
/// let (parameter, gradient) = (device.upload(&[1f32, 2.0])?, device.upload(&[0.5f32, -7.0])?);
/// let adamw = AdamW::new(&device, 2, AdamWConfig::default())?;
/// let mut rec = Recorder::new(&device);
/// adamw.step(&mut rec, &parameter, &gradient, 0.25, 0)?;
/// rec.submit()?;
/// // The first step is as long as the rate, whatever the size of the gradient.
/// let moved = pollster::block_on(device.read::<f32>(&parameter))?;
/// assert!((moved[0] - 0.75).abs() < 1e-6 && (moved[1] - 2.25).abs() < 1e-6);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AdamW {
    config: AdamWConfig,
    first: Buffer,
    second: Buffer,
}

impl AdamW {
    /// For a parameter of so many elements.
    ///
    /// # Errors
    /// As the device refuses memory.
    pub fn new(device: &Device, elements: usize, config: AdamWConfig) -> Result<Self> {
        let zeros = vec![0f32; elements];
        Ok(Self { config, first: device.upload(&zeros)?, second: device.upload(&zeros)? })
    }

    /// Goes on with the first and the second moment that an earlier one had.
    pub fn with_moments(config: AdamWConfig, [first, second]: [Buffer; 2]) -> Self {
        Self { config, first, second }
    }

    /// Takes another share of a parameter away from now on.
    pub fn set_weight_decay(&mut self, weight_decay: f64) {
        self.config.weight_decay = weight_decay;
    }

    /// The first and the second moment, f32, as many as the parameter has elements.
    pub fn moments(&self) -> [&Buffer; 2] {
        [&self.first, &self.second]
    }

    /// Records a step of length `rate` along a gradient; `step` counts those before it.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if the sizes differ, and those of recording.
    pub fn step(&self, rec: &mut Recorder, parameter: &Buffer, gradient: &Buffer, rate: f32, step: u32) -> Result<()> {
        const OP: &str = "adamw_step";
        same_size(OP, gradient, parameter)?;
        same_size(OP, &self.first, parameter)?;
        let params = self.params(size(OP, parameter.bytes() / 4)?, rate.into(), step);
        rec.dispatch::<AdamWStep>(&params, adamw_step::variant(), &[gradient, parameter, &self.first, &self.second])
    }

    /// In f64, since `1 - beta` has few digits in f32.
    #[allow(clippy::cast_possible_truncation, reason = "the kernel computes in f32")]
    fn params(&self, count: u32, rate: f64, step: u32) -> adamw_step::Params {
        let AdamWConfig { betas: [beta1, beta2], eps, weight_decay, bounds: [low, high] } = self.config;
        let taken = f64::from(step) + 1.0;
        adamw_step::Params {
            count,
            keep: (1.0 - rate * weight_decay) as f32,
            rate: (rate / (1.0 - beta1.powf(taken))) as f32,
            root: (1.0 / (1.0 - beta2.powf(taken)).sqrt()) as f32,
            enter1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            enter2: (1.0 - beta2) as f32,
            eps: eps as f32,
            low,
            high,
        }
    }
}
