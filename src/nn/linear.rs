//! A linear layer that trains as it will be deployed.

use super::config::BitLinearConfig;
use super::deployed::DeployedLinear;
use super::parameter::Parameter;
use super::selected::{SelectedKernel, of_layer};
use crate::device::{Buffer, Device, Recorder};
use crate::error::{Error, Result};
use crate::op::{self, Activations, GroupWeight, LatentWeight};
use crate::random::Random;
use crate::tensor::Tensor;

/// `y = x W^T + b` with a weight in f32 that trains, and is quantized whenever it is used: `[tokens, in_features]` gives
/// `[tokens, out_features]`.
///
/// It begins in training: the weight is quantized anew in each pass, gradients go straight through. [`Self::eval`] keeps the
/// codes and computes with them as a deployed layer does, until [`Self::train`]. [`Self::deploy`] gives up the f32 weight.
///
/// ```
/// use bitsmith::nn::{BitLinear, BitLinearConfig};
/// use bitsmith::op::Activations;
/// use bitsmith::{Device, Random, Recorder};
/// let device = Device::cpu();
/// let mut layer = BitLinear::new(&device, "fc", 64, 10, BitLinearConfig::default(), &mut Random::new(1))?;
/// let x = Activations::upload(&device, 2, 64, &Random::new(2).normals(128))?;
/// let mut run = |layer: &BitLinear| {
///     let mut rec = Recorder::new(&device);
///     let y = layer.forward(&mut rec, &x)?;
///     rec.submit()?;
///     pollster::block_on(y.read(&device))
/// };
/// let trained = run(&layer)?;
/// layer.eval()?;
/// assert!(run(&layer)?.iter().zip(&trained).all(|(a, b)| (a - b).abs() < 1e-5));
/// assert_eq!(layer.selected_kernel(2)?.kernel, "matvec_group_int8");
/// let deployed = pollster::block_on(layer.deploy())?;
/// assert_eq!(deployed.weight_bytes(), 64 * 10 / 4 + 4);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct BitLinear {
    name: String,
    device: Device,
    config: BitLinearConfig,
    weight: LatentWeight,
    bias: Option<Buffer>,
    /// The codes in use, while the layer is evaluated.
    packed: Option<GroupWeight>,
}

impl BitLinear {
    /// With weights and biases drawn evenly from `-1/sqrt(in_features)..1/sqrt(in_features)`, as PyTorch does. `name` is the
    /// module path, such as `fc1`.
    ///
    /// # Errors
    /// [`Error::Config`] for a layer without features or a config that cannot be, and those of the device.
    pub fn new(
        device: &Device,
        name: &str,
        in_features: usize,
        out_features: usize,
        config: BitLinearConfig,
        random: &mut Random,
    ) -> Result<Self> {
        if in_features == 0 || out_features == 0 {
            let detail =
                format!("{name} has {in_features} input and {out_features} output features; give at least one");
            return Err(Error::config("layers", detail));
        }
        // Before memory of that size is asked for on the host.
        let bytes = (in_features as u64).saturating_mul(out_features as u64).saturating_mul(4);
        let allowed = device.caps().max_binding_bytes;
        if bytes > allowed {
            return Err(Error::Limit { what: format!("weight of {name}"), wanted: bytes, allowed });
        }
        let bound = 1.0 / (in_features as f32).sqrt();
        let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| (2.0 * random.uniform() - 1.0) * bound).collect() };
        let weight = Tensor::from_f32(vec![out_features, in_features], &draw(out_features * in_features))?;
        let bias = config.bias.then(|| draw(out_features));
        Self::from_values(device, name, &weight, bias.as_deref(), config)
    }

    /// With this weight `[out_features, in_features]` of any float type and this bias.
    ///
    /// # Errors
    /// [`Error::Shape`] if the bias has another length, or is there although the config says no, or the other way round;
    /// [`Error::Config`] for a config that cannot be; those of the device.
    pub fn from_values(
        device: &Device,
        name: &str,
        weight: &Tensor<'_>,
        bias: Option<&[f32]>,
        config: BitLinearConfig,
    ) -> Result<Self> {
        if bias.map(<[f32]>::len) != config.bias.then_some(weight.rows()) {
            let expected = if config.bias { format!("{} biases of {name}", weight.rows()) } else { "no bias".into() };
            let found = bias.map_or("none".into(), |bias| bias.len().to_string());
            return Err(Error::Shape { op: "linear", expected, found });
        }
        let weight = LatentWeight::upload(device, weight, config.scheme(), config.input())?;
        let bias = bias.map(|bias| device.upload(bias)).transpose()?;
        Ok(Self { name: name.to_owned(), device: device.clone(), config, weight, bias, packed: None })
    }

    /// What it is quantized to.
    pub fn config(&self) -> &BitLinearConfig {
        &self.config
    }

    /// Input features.
    pub fn in_features(&self) -> usize {
        self.weight.cols()
    }

    /// Output features.
    pub fn out_features(&self) -> usize {
        self.weight.rows()
    }

    /// `{name}.weight` `[out_features, in_features]` and, if there is one, `{name}.bias` `[out_features]`.
    pub fn parameters(&self) -> Vec<Parameter> {
        let named = |part: &str, shape: Vec<usize>, buffer: &Buffer| {
            let name = format!("{}.{part}", self.name);
            Parameter { name, shape, buffer: buffer.clone() }
        };
        let shape = vec![self.out_features(), self.in_features()];
        let mut all = vec![named("weight", shape, &self.weight.values().buffer)];
        all.extend(self.bias.iter().map(|bias| named("bias", vec![self.out_features()], bias)));
        all
    }

    /// Quantizes the weight, to compute with its codes as a deployed layer does. Steps of an optimiser are without effect on
    /// them, and the weight has no gradient, until [`Self::train`].
    ///
    /// # Errors
    /// Those of the device.
    pub fn eval(&mut self) -> Result<()> {
        let mut rec = Recorder::new(&self.device);
        self.packed = self.weight.pack(&mut rec)?;
        rec.submit()
    }

    /// Trains with this quantization from now on, and with noise as [`LatentWeight::with_noise`] adds it; the bias stays.
    pub(super) fn quantize(&mut self, config: BitLinearConfig, noise: f32, seed: u32) -> Result<()> {
        let weight = LatentWeight::new(self.weight.values().clone(), config.scheme(), config.input())?;
        self.config = BitLinearConfig { bias: self.config.bias, ..config };
        self.weight = weight.with_noise(noise, seed);
        self.packed = None;
        Ok(())
    }

    /// Goes back to the f32 weight.
    pub fn train(&mut self) {
        self.packed = None;
    }

    /// The layer of `[tokens, in_features]`. Gradients go to the [parameters](Self::parameters) that the recorder watches.
    ///
    /// # Errors
    /// [`Error::Shape`] if the width of `x` is another, and those of the device.
    pub fn forward(&self, rec: &mut Recorder, x: &Activations) -> Result<Activations> {
        if let Some(packed) = &self.packed {
            return self.weight.input().apply_with_bias(rec, x, packed, self.bias.as_ref());
        }
        let y = self.weight.apply(rec, x)?;
        if let Some(bias) = &self.bias {
            op::add_bias(rec, &y, bias)?;
        }
        Ok(y)
    }

    /// Packs the weight for good. What comes out cannot be trained.
    ///
    /// ```compile_fail
    /// # use bitsmith::{Device, Random, nn::{BitLinear, BitLinearConfig}};
    /// let layer = BitLinear::new(&Device::cpu(), "fc", 8, 8, BitLinearConfig::default(), &mut Random::new(1))?;
    /// let deployed = pollster::block_on(layer.deploy())?;
    /// layer.train();
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] if the weight holds a NaN or an infinity, and those of the device.
    pub async fn deploy(self) -> Result<DeployedLinear> {
        let mut rec = Recorder::new(&self.device);
        let packed = self.weight.pack(&mut rec)?;
        rec.submit()?;
        if let Some(packed) = &packed {
            packed.read(&self.device).await.map_err(|error| match error {
                Error::Config { detail, .. } => Error::config(format!("{}.weight", self.name), detail),
                other => other,
            })?;
        }
        DeployedLinear::new(&self.device, &self.name, self.config, self.weight, packed, self.bias)
    }

    /// Which kernel computes the product with `tokens` rows as the layer is now, and why.
    ///
    /// # Errors
    /// Those of recording.
    pub fn selected_kernel(&self, tokens: usize) -> Result<SelectedKernel> {
        let training = self.packed.is_none() && self.config.scheme().is_some();
        of_layer(&self.device, &self.config, training, tokens, self.in_features(), |rec, x| self.forward(rec, x))
    }
}
