//! One optimiser for all parameters of a network.

use super::parameter::Parameter;
use crate::device::{Device, Gradients, Recorder};
use crate::error::Result;
use crate::op::{AdamW, AdamWConfig};

/// `AdamW` for each of some parameters.
#[derive(Clone, Debug)]
pub struct Optimiser {
    parameters: Vec<(Parameter, AdamW)>,
    steps: u32,
}

impl Optimiser {
    /// For these parameters, no step taken.
    ///
    /// # Errors
    /// As the device refuses memory.
    pub fn new(device: &Device, parameters: Vec<Parameter>, config: AdamWConfig) -> Result<Self> {
        let with = |parameter: Parameter| {
            let adamw = AdamW::new(device, parameter.elements(), config)?;
            Ok((parameter, adamw))
        };
        Ok(Self { parameters: parameters.into_iter().map(with).collect::<Result<_>>()?, steps: 0 })
    }

    /// Records a step of length `rate` of every parameter that has a gradient.
    ///
    /// # Errors
    /// Those of recording.
    pub fn step(&mut self, rec: &mut Recorder, gradients: &Gradients, rate: f32) -> Result<()> {
        for (parameter, adamw) in &self.parameters {
            if let Some(gradient) = gradients.of(&parameter.buffer) {
                adamw.step(rec, &parameter.buffer, gradient, rate, self.steps)?;
            }
        }
        self.steps += 1;
        Ok(())
    }

    /// Steps so far.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// The parameters with their moments.
    pub fn parameters(&self) -> &[(Parameter, AdamW)] {
        &self.parameters
    }
}
