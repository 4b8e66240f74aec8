//! A linear layer, in whatever form its weight is held.

use std::fmt::Debug;
use std::ops::Range;
use std::rc::Rc;

use crate::device::{Buffer, Recorder};
use crate::error::{Error, Result};
use crate::op::{self, Activations, DenseWeight, GroupWeight, LatentWeight, LayerInput};

/// The weight of a linear layer on a device.
#[derive(Debug)]
pub(crate) enum Weight {
    /// Floating point.
    Dense(DenseWeight),
    /// Packed integers with a scale per group, and what the activations become that meet them.
    Group(GroupWeight, LayerInput),
    /// Floating point that trains, and is used as if it were quantized.
    Latent(LatentWeight),
}

impl Weight {
    /// Output and input features.
    fn shape(&self) -> [usize; 2] {
        match self {
            Self::Dense(weight) => [weight.rows(), weight.cols()],
            Self::Group(weight, _) => [weight.rows(), weight.cols()],
            Self::Latent(weight) => [weight.rows(), weight.cols()],
        }
    }
}

/// `y = x W^T + b`.
#[derive(Debug)]
pub struct Linear {
    path: String,
    rows: Range<usize>,
    weight: Weight,
    bias: Option<Buffer>,
    observer: Option<Rc<dyn Observer>>,
}

/// Sees what goes through a layer, on the device: it records what it does with that.
pub trait Observer: Debug {
    /// Called for the input `[rows, in_features]` of each forward pass.
    ///
    /// # Errors
    /// Those of recording.
    fn observe(&self, rec: &mut Recorder, x: &Activations) -> Result<()>;

    /// Called for the output `[rows, out_features]` of each forward pass.
    ///
    /// # Errors
    /// Those of recording.
    fn observe_output(&self, rec: &mut Recorder, y: &Activations) -> Result<()> {
        let _ = (rec, y);
        Ok(())
    }
}

impl Linear {
    pub(super) fn new(path: &str, rows: Range<usize>, weight: Weight, bias: Option<Buffer>) -> Self {
        Self { path: path.to_owned(), rows, weight, bias, observer: None }
    }

    /// Module path of the layer in its checkpoint.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The output features of the checkpoint's layer that are this one's: some models store several layers in one.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Output and input features.
    pub fn shape(&self) -> [usize; 2] {
        self.weight.shape()
    }

    /// The weight, where it is held in floating point.
    pub fn dense(&self) -> Option<&DenseWeight> {
        match &self.weight {
            Weight::Dense(weight) => Some(weight),
            Weight::Group(..) | Weight::Latent(_) => None,
        }
    }

    /// The weight, where it trains with quantization in the loop.
    pub fn latent(&self) -> Option<&LatentWeight> {
        match &self.weight {
            Weight::Latent(weight) => Some(weight),
            Weight::Dense(_) | Weight::Group(..) => None,
        }
    }

    /// The bias, f32, one an output feature.
    pub fn bias(&self) -> Option<&Buffer> {
        self.bias.as_ref()
    }

    /// The weight of a layer that is to be quantized.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if it is quantized already.
    pub fn original(&self) -> Result<&DenseWeight> {
        self.dense().ok_or_else(|| Error::Unsupported {
            what: format!("quantizing {}, which is quantized already", self.path),
            remedy: "give the original model".into(),
        })
    }

    /// Computes with another floating-point weight from now on.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if it has another shape.
    pub fn set_dense(&mut self, weight: DenseWeight) -> Result<()> {
        self.set(Weight::Dense(weight))
    }

    /// Computes with a quantized weight and exact activations from now on.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if it has another shape.
    pub fn set_group(&mut self, weight: GroupWeight) -> Result<()> {
        self.set(Weight::Group(weight, LayerInput::Exact))
    }

    /// Computes from now on with a weight that trains with quantization in the loop.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if it has another shape.
    pub fn set_latent(&mut self, weight: LatentWeight) -> Result<()> {
        self.set(Weight::Latent(weight))
    }

    /// Packs a weight that trains, on the device, and computes with its codes from now on; other weights stay as they are.
    ///
    /// # Errors
    /// Those of the device.
    pub fn deploy(&mut self, rec: &mut Recorder) -> Result<()> {
        let Weight::Latent(latent) = &self.weight else { return Ok(()) };
        self.weight = match latent.pack(rec)? {
            Some(packed) => Weight::Group(packed, latent.input().clone()),
            None => Weight::Dense(DenseWeight::from_values(latent.values().clone())?),
        };
        Ok(())
    }

    fn set(&mut self, weight: Weight) -> Result<()> {
        let (expected, found) = (self.weight.shape(), weight.shape());
        if found != expected {
            let (expected, found) = (format!("a weight of {expected:?}"), format!("{found:?}"));
            return Err(Error::Shape { op: "linear", expected, found });
        }
        self.weight = weight;
        Ok(())
    }

    /// Shows inputs and outputs to an observer, or to none.
    pub fn set_observer(&mut self, observer: Option<Rc<dyn Observer>>) {
        self.observer = observer;
    }

    /// Applies the layer to `[rows, in_features]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the width of `x` is another, and those of the device.
    pub fn forward(&self, rec: &mut Recorder, x: &Activations) -> Result<Activations> {
        if let Some(observer) = &self.observer {
            observer.observe(rec, x)?;
        }
        let bias = self.bias.as_ref();
        let (y, bias) = match &self.weight {
            Weight::Dense(weight) => (op::dense(rec, x, weight)?, bias),
            Weight::Group(weight, input) => (input.apply_with_bias(rec, x, weight, bias)?, None),
            Weight::Latent(weight) => (weight.apply(rec, x)?, bias),
        };
        if let Some(bias) = bias {
            op::add_bias(rec, &y, bias)?;
        }
        if let Some(observer) = &self.observer {
            observer.observe_output(rec, &y)?;
        }
        Ok(y)
    }

    /// Bytes of the weight on the device.
    pub fn bytes(&self) -> u64 {
        match &self.weight {
            Weight::Dense(weight) => weight.bytes() as u64,
            Weight::Group(weight, _) => weight.bytes() as u64,
            Weight::Latent(weight) => weight.bytes() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::pack::PackedTensor;
    use crate::random::Random;
    use crate::tensor::QuantizedTensor;

    /// A product with codes adds the bias itself, unless the bias trains.
    #[test]
    fn packed_weights_have_no_dispatch_for_the_bias() -> Result<()> {
        let device = Device::cpu();
        let codes = (0..3 * 32).map(|i| i % 16).collect();
        let packed = PackedTensor::pack(&QuantizedTensor::new("w4g16s".parse()?, 3, 32, codes, vec![0.5; 6], None)?);
        let x = Activations::upload(&device, 2, 32, &Random::new(1).normals(64))?;
        let bias = [3.0f32, -2.0, 0.5];
        for input in [LayerInput::Exact, LayerInput::Blocks] {
            let weight = input.upload(&device, &packed)?;
            let layer = Linear::new("fc", 0..3, Weight::Group(weight, input.clone()), Some(device.upload(&bias)?));
            let mut results = Vec::new();
            for watched in [false, true] {
                let mut rec = Recorder::new(&device);
                if watched {
                    layer.bias().into_iter().for_each(|bias| rec.watch(bias));
                }
                let y = layer.forward(&mut rec, &x)?;
                let recording = rec.finish();
                assert_eq!(recording.kernels().filter(|kernel| *kernel == "add_bias").count(), usize::from(watched));
                device.submit(recording)?;
                results.push(pollster::block_on(y.read(&device))?);
            }
            assert_eq!(results[0], results[1], "{input}");
        }
        Ok(())
    }
}
