//! The file of a whole model.

use std::borrow::Cow;

use super::metadata::{self, Setting, Settings};
use super::{Model, tokenizer};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::export::{Container, WholeModel};
use crate::io::{
    CONFIG_FILE, FileLayout, GGUF_ALIGNMENT, GGUF_ALIGNMENT_KEY, GGUF_FILE, GGUF_TYPES, GgufArchitecture, ModelConfig,
    StoredDtype, TensorInfo, TensorSpec, gguf_rows,
};
use crate::tensor::Tensor;

/// Ends of the names of tensors that a model computes for itself.
const COMPUTED: [&str; 3] = ["rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias"];
/// The output head.
const HEAD: &str = "lm_head.weight";
/// The positions of GPT-2, which readers want in f32.
const POSITIONS: &str = "position_embd.weight";
/// What `general.file_type` calls a file most of whose layers have a type.
const FILE_TYPES: [(StoredDtype, u32); 6] = [
    (StoredDtype::Q4_0, 2),
    (StoredDtype::Q4_1, 3),
    (StoredDtype::Q8_0, 7),
    (StoredDtype::Q2_K, 10),
    (StoredDtype::TQ1_0, 36),
    (StoredDtype::TQ2_0, 37),
];
/// Version of the layout of blocks.
const QUANTIZATION_VERSION: u32 = 2;

/// One file.
#[derive(Debug)]
pub(super) struct File {
    model: Model,
    tied: bool,
    settings: Settings,
}

impl File {
    /// # Errors
    /// Those of the configuration and of the tokenizer, which is read here.
    pub(super) fn new(model: Model, whole: &WholeModel<'_>) -> Result<Self> {
        let config = ModelConfig::from_value(&whole.folder.join(CONFIG_FILE), whole.config)?;
        let mut settings = vec![
            ("general.architecture".to_owned(), Setting::text(model.architecture.name())),
            ("general.name".to_owned(), Setting::text(whole.name)),
            ("general.quantization_version".to_owned(), Setting::U32(QUANTIZATION_VERSION)),
        ];
        settings.extend(metadata::of(&config, model.architecture)?);
        settings.extend(tokenizer::settings(whole.folder, &config)?);
        Ok(Self { model, tied: config.tie_word_embeddings, settings })
    }

    /// The name of a tensor in the file.
    fn name(&self, tensor: &str) -> Result<String> {
        let architecture = self.model.architecture;
        architecture.file_name(tensor).ok_or_else(|| Error::Unsupported {
            what: format!("tensor `{tensor}` in the architecture {} of GGUF", architecture.name()),
            remedy: "use another format".into(),
        })
    }

    /// Whether a matrix is stored `[in, out]` by the family.
    fn is_transposed(&self, tensor: &TensorInfo, name: &str) -> bool {
        self.model.architecture == GgufArchitecture::Gpt2 && name.starts_with("blk.") && tensor.shape.len() == 2
    }
}

impl Container for File {
    fn kept(&self, tensor: &TensorInfo) -> Result<Option<TensorSpec>> {
        let computed =
            COMPUTED.iter().any(|end| tensor.name.ends_with(end)) && self.model.heads_of(&tensor.name).is_none();
        if computed || (self.tied && tensor.name == HEAD) {
            return Ok(None);
        }
        let name = self.name(&tensor.name)?;
        let Some(dtype) = tensor.dtype.dtype() else {
            let (expected, found) = (format!("{} in floating point", tensor.name), tensor.dtype.to_string());
            return Err(Error::Shape { op: "gguf", expected, found });
        };
        // Readers want norms and biases in f32.
        let dtype = if tensor.shape.len() < 2 || name == POSITIONS { Dtype::F32 } else { dtype };
        let mut shape = tensor.shape.clone();
        if self.is_transposed(tensor, &name) {
            shape.reverse();
        }
        Ok(Some(TensorSpec::new(tensor.name.clone(), dtype, shape)))
    }

    fn convert<'a>(&self, tensor: &TensorInfo, bytes: Cow<'a, [u8]>) -> Result<Cow<'a, [u8]>> {
        let (Some(spec), Some(dtype)) = (self.kept(tensor)?, tensor.dtype.dtype()) else { return Ok(bytes) };
        let mut bytes = bytes;
        if self.is_transposed(tensor, &self.name(&tensor.name)?) {
            bytes = Cow::Owned(Tensor::new(dtype, tensor.shape.clone(), bytes)?.transposed().bytes().to_vec());
        }
        if spec.dtype == StoredDtype::F32 && dtype != Dtype::F32 {
            bytes = Cow::Owned(Dtype::F32.encode(&dtype.decode(&bytes)));
        }
        if let (Some(heads), Some(rows)) = (self.model.heads_of(&tensor.name), tensor.shape.first()) {
            bytes = Cow::Owned(gguf_rows::to_file(&bytes, *rows, heads)?);
        }
        Ok(bytes)
    }

    fn files(&self, tensors: &[TensorSpec]) -> Result<Vec<FileLayout>> {
        let mut settings = self.settings.clone();
        settings.push(("general.file_type".to_owned(), Setting::U32(file_type(tensors)?)));
        let alignment = u32::try_from(GGUF_ALIGNMENT).unwrap_or(u32::MAX);
        settings.push((GGUF_ALIGNMENT_KEY.to_owned(), Setting::U32(alignment)));
        let mut head = b"GGUF".to_vec();
        head.extend(3u32.to_le_bytes());
        head.extend((tensors.len() as u64).to_le_bytes());
        head.extend((settings.len() as u64).to_le_bytes());
        head.extend(metadata::encode(&settings));
        let mut offset = 0u64;
        for tensor in tensors {
            let name = self.name(&tensor.name)?;
            head.extend((name.len() as u64).to_le_bytes());
            head.extend(name.as_bytes());
            head.extend(u32::try_from(tensor.shape.len()).unwrap_or(u32::MAX).to_le_bytes());
            tensor.shape.iter().rev().for_each(|extent| head.extend((*extent as u64).to_le_bytes()));
            head.extend(number(tensor)?.to_le_bytes());
            head.extend(offset.to_le_bytes());
            // Beyond this the layout refuses the list.
            offset =
                offset.saturating_add(tensor.bytes()?).checked_next_multiple_of(GGUF_ALIGNMENT).unwrap_or(u64::MAX);
        }
        Ok(vec![FileLayout::packed(GGUF_FILE, head, tensors, GGUF_ALIGNMENT)?])
    }

    fn read_name(&self, tensor: &str) -> String {
        let architecture = self.model.architecture;
        let found = architecture.file_name(tensor).and_then(|name| architecture.family_name(&name));
        found.unwrap_or_else(|| tensor.to_owned())
    }

    fn notes(&self) -> Vec<String> {
        let is_true = |(key, value): &(String, Setting)| key == tokenizer::SQUEEZED && *value == Setting::Bool(true);
        let spaces = "note: other readers keep several spaces in a row, of which the tokenizer makes one";
        let bare = "warning: the model has no tokenizer.json, so the file holds no tokenizer";
        let has_none = |setting: &(String, Setting)| *setting == tokenizer::none();
        let told = [(self.settings.iter().any(is_true), spaces), (self.settings.iter().any(has_none), bare)];
        told.into_iter().filter(|(is, _)| *is).map(|(_, note)| note.to_owned()).collect()
    }

    fn companions(&self) -> bool {
        false
    }
}

/// The number of a tensor's type.
fn number(tensor: &TensorSpec) -> Result<u32> {
    let number = GGUF_TYPES.iter().find(|(_, dtype)| *dtype == tensor.dtype).map(|(number, _)| *number);
    number.ok_or_else(|| {
        let (expected, found) = ("a type that GGUF has".into(), format!("{} as {}", tensor.name, tensor.dtype));
        Error::Shape { op: "gguf", expected, found }
    })
}

/// The type that most bytes of layers have; where there are none of blocks, that of f16 if a matrix is, or 0.
fn file_type(tensors: &[TensorSpec]) -> Result<u32> {
    let half = tensors.iter().any(|tensor| tensor.dtype == StoredDtype::F16 && tensor.shape.len() == 2);
    let mut most = (0, u32::from(half));
    for (dtype, number) in FILE_TYPES {
        let of_type = tensors.iter().filter(|tensor| tensor.dtype == dtype);
        let bytes = of_type.map(TensorSpec::bytes).sum::<Result<u64>>()?;
        most = if bytes > most.0 { (bytes, number) } else { most };
    }
    Ok(most.1)
}
