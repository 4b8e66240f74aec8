//! From the tensors of a checkpoint to the parts of a model, each checked against the shape the config asks for.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::drawn::Drawn;
use super::linear::{Linear, Weight};
use super::trainable::{Layout, Loaded, ModelParameter};
use crate::device::{Buffer, Device};
use crate::error::{Error, Result};
use crate::export::bitnet::Unpacked;
use crate::export::{self, Importer, LayerSpec};
use crate::io::{Checkpoint, Family};
use crate::op::{ActivationPrecision, Activations, DenseWeight, LatentWeight, LayerInput};
use crate::pack::PackedTensor;
use crate::tensor::Tensor;

#[derive(Debug)]
pub(super) struct Loader {
    folder: PathBuf,
    values: Values,
    device: Device,
    importer: Option<Box<dyn Importer>>,
    quantized: HashMap<String, (LayerSpec, LayerInput)>,
    /// Layers that are quantized in the files and read in floating point.
    decoded: HashSet<String>,
    /// What was loaded, where the model is to train.
    trained: Option<Loaded>,
}

/// Where tensors come from.
#[derive(Debug)]
enum Values {
    Stored(Checkpoint),
    Drawn(Drawn),
}

impl Loader {
    /// # Errors
    /// [`Error::Config`] for int8 activations if no layer is quantized: dense layers take exact ones.
    pub(super) fn open(
        folder: &Path,
        device: &Device,
        activations: ActivationPrecision,
        config: &Value,
    ) -> Result<Self> {
        let checkpoint = Checkpoint::open(folder)?;
        let importer = match config.get("quantization_config").filter(|q| !q.is_null()) {
            Some(quantization) => Some(export::importer(quantization, folder)?),
            // Ternary layers in floating point were trained for rounded activations, which meet packed weights only.
            None if is_bitnet(config) && activations != ActivationPrecision::Exact => {
                Some(Box::new(Unpacked::new(config, folder)) as Box<dyn Importer>)
            }
            None => None,
        };
        let layers = importer.as_ref().map(|i| i.layers(&checkpoint)).transpose()?.unwrap_or_default();
        let decoded = importer.as_ref().map(|i| i.decoded(&checkpoint)).transpose()?.unwrap_or_default();
        let decoded = decoded.into_iter().map(|decoded| decoded.layer.path).collect();
        let mut quantized = HashMap::with_capacity(layers.len());
        for layer in layers {
            let input = activations.of(layer.input.clone());
            quantized.insert(layer.path.clone(), (layer, input));
        }
        if activations == ActivationPrecision::Int8 && quantized.is_empty() {
            let detail = format!("int8 is for quantized layers, and {} has none; quantize it first", folder.display());
            return Err(Error::config("activations", detail));
        }
        let (folder, device) = (folder.to_path_buf(), device.clone());
        Ok(Self { folder, values: Values::Stored(checkpoint), device, importer, quantized, decoded, trained: None })
    }

    /// A loader of a model that is to train, with the tensors of a folder or file.
    pub(super) fn trainable(folder: &Path, device: &Device, weights: &Path) -> Result<Self> {
        Ok(Self::training(folder, device, Values::Stored(Checkpoint::open(weights)?)))
    }

    /// A loader of a model that was never trained.
    pub(super) fn drawn(folder: &Path, device: &Device, drawn: Drawn) -> Self {
        Self::training(folder, device, Values::Drawn(drawn))
    }

    fn training(folder: &Path, device: &Device, values: Values) -> Self {
        let (folder, device) = (folder.to_path_buf(), device.clone());
        let trained = Some(Loaded::default());
        Self { folder, values, device, importer: None, quantized: HashMap::new(), decoded: HashSet::new(), trained }
    }

    /// The parameters that were loaded for training, in the order of the model.
    pub(super) fn loaded(&self) -> Vec<ModelParameter> {
        self.trained.as_ref().map(|trained| trained.borrow().clone()).unwrap_or_default()
    }

    /// Uploads what is to train, in f32.
    fn train(&self, name: &str, tensor: &Tensor<'_>, layout: Layout) -> Result<Option<Activations>> {
        let Some(trained) = &self.trained else { return Ok(None) };
        let (rows, cols) = if layout == Layout::Vector { (1, tensor.rows()) } else { (tensor.rows(), tensor.cols()) };
        let values = Activations::upload(&self.device, rows, cols, &tensor.to_f32())?;
        trained.borrow_mut().push(ModelParameter { name: name.to_owned(), values: values.clone(), layout });
        Ok(Some(values))
    }

    /// The weight of a layer, or of some rows of one.
    fn weight(&self, name: &str, tensor: &Tensor<'_>, layout: Layout) -> Result<Weight> {
        Ok(match self.train(name, tensor, layout)? {
            Some(values) => Weight::Latent(LatentWeight::new(values, None, LayerInput::Exact)?),
            None => Weight::Dense(DenseWeight::upload(&self.device, tensor)?),
        })
    }

    /// Whether there is a tensor of this name; of those that are drawn, none is there before it is asked for.
    pub(super) fn has(&self, name: &str) -> bool {
        matches!(&self.values, Values::Stored(checkpoint) if checkpoint.contains(name))
    }

    /// Tells that a tensor is not needed any more.
    fn release(&self, name: &str) {
        if let Values::Stored(checkpoint) = &self.values {
            checkpoint.release(name);
        }
    }

    /// What the inputs of quantized layers become: exact if all of them do.
    pub(super) fn activations(&self) -> ActivationPrecision {
        match self.quantized.values().all(|(_, input)| input.rounding().is_exact()) {
            true => ActivationPrecision::Exact,
            false => ActivationPrecision::Int8,
        }
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// A layer of this shape; with `bias`, `{path}.bias` must be there, without it must not, unless it is zero.
    pub(super) fn linear(&self, path: &str, rows: usize, cols: usize, bias: bool) -> Result<Linear> {
        let weight = match self.packed(path, rows, cols)? {
            Some((packed, input)) => self.group(&packed, input)?,
            None => {
                let name = format!("{path}.weight");
                let weight = self.weight(&name, &self.tensor(&name, &[rows, cols])?, Layout::Matrix)?;
                self.release(&name);
                weight
            }
        };
        let name = format!("{path}.bias");
        let bias = if bias {
            Some(self.vector(&name, rows)?)
        } else {
            self.expect_no_bias(&name)?;
            None
        };
        Ok(Linear::new(path, 0..rows, weight, bias))
    }

    /// A Conv1D, whose dense weight is stored `[in, out]` and whose codes are those of `[out, in]`, as `N` layers of
    /// `rows` output features each.
    pub(super) fn conv1d<const N: usize>(&self, path: &str, rows: usize, cols: usize) -> Result<[Linear; N]> {
        let ranges: [_; N] = std::array::from_fn(|part| part * rows..(part + 1) * rows);
        let weights = match self.packed(path, N * rows, cols)? {
            Some((packed, input)) => {
                let upload = |range| self.group(&packed.rows_in(range)?, input);
                ranges.clone().map(upload)
            }
            None => {
                let name = format!("{path}.weight");
                let tensor = match self.decoded.contains(path) {
                    true => self.tensor(&name, &[N * rows, cols])?,
                    false => self.tensor(&name, &[cols, N * rows])?.transposed(),
                };
                self.release(&name);
                let upload = |range| self.weight(&name, &tensor.rows_in(range), Layout::Transposed);
                ranges.clone().map(upload)
            }
        };
        let name = format!("{path}.bias");
        let bias = self.tensor(&name, &[N * rows])?;
        let mut layers = Vec::with_capacity(N);
        for (weight, range) in weights.into_iter().zip(ranges) {
            let bias = self.values_of(&name, &bias.rows_in(range.clone()))?;
            layers.push(Linear::new(path, range, weight?, Some(bias)));
        }
        Ok(layers.try_into().expect("there are as many layers as ranges"))
    }

    /// The codes of a quantized layer and what its input becomes, if it is one.
    fn packed(&self, path: &str, rows: usize, cols: usize) -> Result<Option<(PackedTensor, &LayerInput)>> {
        let (Some(importer), Some((layer, input)), Values::Stored(checkpoint)) =
            (&self.importer, self.quantized.get(path), &self.values)
        else {
            return Ok(None);
        };
        let file = export::file_of(checkpoint, path).unwrap_or(&self.folder);
        expect(file, &format!("{path} (quantized)"), &[layer.rows, layer.cols], &[rows, cols])?;
        Ok(Some((importer.decode(path, checkpoint)?, input)))
    }

    fn group(&self, packed: &PackedTensor, input: &LayerInput) -> Result<Weight> {
        Ok(Weight::Group(input.upload(&self.device, packed)?, input.clone()))
    }

    fn expect_no_bias(&self, name: &str) -> Result<()> {
        let Values::Stored(checkpoint) = &self.values else { return Ok(()) };
        if !checkpoint.contains(name) || checkpoint.tensor(name)?.to_f32().iter().all(|b| *b == 0.0) {
            return Ok(());
        }
        let path = checkpoint.path_of(name).unwrap_or(&self.folder);
        let detail = format!("there is a tensor {name}, but by config.json this layer has no bias; correct the config");
        Err(Error::format(path, detail))
    }

    /// A matrix in its storage type.
    pub(super) fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<DenseWeight> {
        let tensor = self.tensor(name, &[rows, cols])?;
        let weight = match self.train(name, &tensor, Layout::Matrix)? {
            Some(values) => DenseWeight::from_values(values)?,
            None => DenseWeight::upload(&self.device, &tensor)?,
        };
        self.release(name);
        Ok(weight)
    }

    /// A vector as f32.
    pub(super) fn vector(&self, name: &str, length: usize) -> Result<Buffer> {
        self.values_of(name, &self.tensor(name, &[length])?)
    }

    /// A vector, or some values of one.
    fn values_of(&self, name: &str, tensor: &Tensor<'_>) -> Result<Buffer> {
        match self.train(name, tensor, Layout::Vector)? {
            Some(values) => Ok(values.buffer),
            None => self.device.upload(&tensor.to_f32()),
        }
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor<'_>> {
        let checkpoint = match &self.values {
            Values::Stored(checkpoint) => checkpoint,
            Values::Drawn(drawn) => return drawn.tensor(name, shape),
        };
        let decoded =
            name.strip_suffix(".weight").filter(|path| self.decoded.contains(*path)).zip(self.importer.as_ref());
        let tensor = match decoded {
            Some((path, importer)) => importer.values(path, checkpoint)?,
            None => checkpoint.tensor(name)?,
        };
        expect(checkpoint.path_of(name).unwrap_or(&self.folder), name, tensor.shape(), shape)?;
        Ok(tensor)
    }
}

fn is_bitnet(config: &Value) -> bool {
    config.get("model_type").and_then(Value::as_str) == Some(Family::Bitnet.name())
}

fn expect(file: &Path, name: &str, found: &[usize], wanted: &[usize]) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(Error::format(file, format!("{name} has shape {found:?}, but config.json asks for {wanted:?}")))
}
