//! Reads layers of a compressed-tensors model, checking every tensor against the configuration and the others.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config::{Config, Said};
use super::inputs::Inputs;
use super::{
    Form, GROUP_INDEX, INPUT_SCALE, INPUT_ZERO_POINT, KEPT, NAME, PACKED, SCALE, SHAPE, WEIGHT, ZERO_POINT,
    bytes_to_words, scale_shape, signed, tensor_name,
};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::export::{Importer, LayerSpec, Stored, TensorSource, file_of};
use crate::op::LayerInput;
use crate::pack::{PackedTensor, Packing};
use crate::scheme::{RangeRule, Scheme, Span};

/// The reader of one model.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    config: Config,
}

/// The tensors of a layer, checked against each other.
struct Parts<'a> {
    layer: LayerSpec,
    form: Form,
    codes: Stored<'a>,
    scale: Stored<'a>,
    zero: Option<Stored<'a>>,
    kept: Option<Stored<'a>>,
}

impl Reader {
    /// A reader for the model in `folder` with this `quantization_config`.
    ///
    /// # Errors
    /// [`Error::Format`] or [`Error::Unsupported`] that names the field.
    pub fn new(config: &Value, folder: &Path) -> Result<Self> {
        let config = Config::read(config, &folder.join("config.json"))?;
        Ok(Self { folder: folder.to_path_buf(), config })
    }

    fn malformed(&self, path: &str, detail: &str) -> Error {
        Error::format(&self.folder, format!("{path}: {detail}"))
    }

    /// A tensor of a layer with as many bytes as its type and shape say.
    fn stored<'a>(&self, path: &str, suffix: &str, source: &'a dyn TensorSource) -> Result<Option<Stored<'a>>> {
        let Some(stored) = source.find(&tensor_name(path, suffix))? else { return Ok(None) };
        let element = match stored.dtype {
            "I8" => 1,
            "F16" | "BF16" => 2,
            "I32" | "F32" => 4,
            "I64" => 8,
            other => return Err(self.malformed(path, &format!("{suffix} cannot be of type {other}"))),
        };
        let bytes = stored.shape.iter().try_fold(element, |n: usize, extent| n.checked_mul(*extent));
        if bytes != Some(stored.bytes.len()) {
            let detail = format!(
                "{suffix} has {} bytes, which is not {} of shape {:?}",
                stored.bytes.len(),
                stored.dtype,
                stored.shape
            );
            return Err(self.malformed(path, &detail));
        }
        Ok(Some(stored))
    }

    fn required<'a>(&self, path: &str, suffix: &str, source: &'a dyn TensorSource) -> Result<Stored<'a>> {
        self.stored(path, suffix, source)?.ok_or_else(|| self.malformed(path, &format!("{suffix} is missing")))
    }

    /// Fails unless the tensor has this type and one of these shapes.
    fn expect(&self, path: &str, suffix: &str, stored: &Stored<'_>, dtype: &str, shapes: &[Vec<usize>]) -> Result<()> {
        if stored.dtype == dtype && shapes.contains(&stored.shape) {
            return Ok(());
        }
        let shapes = shapes.iter().map(|shape| format!("{shape:?}")).collect::<Vec<_>>().join(" or ");
        let found = format!("{} of shape {:?}", stored.dtype, stored.shape);
        Err(self.malformed(path, &format!("{suffix} should be {dtype} of shape {shapes}, but is {found}")))
    }

    fn parts<'a>(&self, path: &str, source: &'a dyn TensorSource) -> Result<Parts<'a>> {
        let said = self.config.said(path).map_err(|why| self.malformed(path, &why))?;
        let Said { form, inputs, .. } = said;
        if source.find(&tensor_name(path, GROUP_INDEX))?.is_some() {
            return Err(Error::Unsupported {
                what: format!("{}: {path}.{GROUP_INDEX}", self.folder.display()),
                remedy: "quantize without activation order, or with actorder `weight`".to_owned(),
            });
        }
        let codes = self.required(path, if form == Form::Packed { PACKED } else { WEIGHT }, source)?;
        let scale = self.required(path, SCALE, source)?;
        let scale_type = match scale.dtype {
            "F32" => Dtype::F32,
            "F16" => Dtype::F16,
            "BF16" => Dtype::Bf16,
            other => return Err(self.malformed(path, &format!("{SCALE} cannot be of type {other}"))),
        };
        let scheme = said.scheme.with_scale_type(scale_type);
        let (rows, cols) = match form {
            Form::Packed => self.shape(path, scheme, &codes, source)?,
            Form::Int => self.plain_shape(path, &codes)?,
        };

        let groups = scheme.groups(rows, cols);
        let mut shapes = vec![scale_shape(scheme.span(), rows, groups)];
        if scheme.span() == Span::Tensor {
            shapes.push(Vec::new());
        }
        self.expect(path, SCALE, &scale, scale.dtype, &shapes)?;

        let zero = self.stored(path, ZERO_POINT, source)?;
        match (&zero, scheme.is_symmetric()) {
            (None, true) => {}
            (Some(_), true) => return Err(self.malformed(path, "a symmetric layer has no weight_zero_point")),
            (None, false) => return Err(self.malformed(path, "weight_zero_point is missing: the layer is asymmetric")),
            (Some(zero), false) if scheme.span() == Span::Tensor || form == Form::Int => {
                self.expect(path, ZERO_POINT, zero, "I8", &shapes)?;
            }
            (Some(zero), false) => {
                let words = Packing::Columns.words(rows, 1, scheme.bits());
                self.expect(path, ZERO_POINT, zero, "I32", &[vec![words, groups.per_row()]])?;
            }
        }
        let mut input = self.input(path, inputs, source)?;
        let mut stored = None;
        if let LayerInput::Outliers { kept, .. } = &mut input {
            stored = self.stored(path, KEPT, source)?;
            *kept = stored.is_some();
        }
        if let Some(kept) = &stored {
            self.expect(path, KEPT, kept, "F16", &[vec![rows, cols]])?;
        }
        let layer = LayerSpec { path: path.to_owned(), scheme, rows, cols, input };
        Ok(Parts { layer, form, codes, scale, zero, kept: stored })
    }

    /// Rows and columns of codes that lie one a byte.
    fn plain_shape(&self, path: &str, codes: &Stored<'_>) -> Result<(usize, usize)> {
        match (codes.dtype, &codes.shape[..]) {
            ("I8", &[rows, cols]) if rows > 0 && cols > 0 => Ok((rows, cols)),
            (dtype, shape) => {
                let detail = format!("{WEIGHT} should be I8 with two axes, but is {dtype} of shape {shape:?}");
                Err(self.malformed(path, &detail))
            }
        }
    }

    /// What the input of a layer becomes; its scale, where there is one, is a number above 0.
    fn input(&self, path: &str, inputs: Inputs, source: &dyn TensorSource) -> Result<LayerInput> {
        let symmetric = match inputs {
            Inputs::Exact => return Ok(LayerInput::Exact),
            Inputs::Tokens { symmetric: true } => {
                let outliers = |threshold| LayerInput::Outliers { threshold, kept: false };
                return Ok(self.config.threshold.map_or(LayerInput::Tokens, outliers));
            }
            Inputs::Tokens { symmetric: false } => return Ok(LayerInput::TokensAsymmetric),
            Inputs::Static { symmetric } => symmetric,
        };
        let shapes = [vec![1], Vec::new()];
        let scale = self.required(path, INPUT_SCALE, source)?;
        let dtype = match scale.dtype {
            "F32" => Dtype::F32,
            "F16" => Dtype::F16,
            "BF16" => Dtype::Bf16,
            other => return Err(self.malformed(path, &format!("{INPUT_SCALE} cannot be of type {other}"))),
        };
        self.expect(path, INPUT_SCALE, &scale, scale.dtype, &shapes)?;
        let scale = dtype.decode(scale.bytes)[0];
        if !(RangeRule::smallest_scale(Dtype::F32)..f32::INFINITY).contains(&scale) {
            return Err(self.malformed(path, &format!("{INPUT_SCALE} is {scale}, which is no scale")));
        }
        let zero = match self.stored(path, INPUT_ZERO_POINT, source)? {
            Some(zero) => {
                self.expect(path, INPUT_ZERO_POINT, &zero, "I8", &shapes)?;
                i8::from_le_bytes([zero.bytes[0]])
            }
            None if symmetric => 0,
            None => return Err(self.malformed(path, "input_zero_point is missing: the input is asymmetric")),
        };
        if symmetric && zero != 0 {
            return Err(self.malformed(path, &format!("input_zero_point is {zero}, but the input is symmetric")));
        }
        Ok(LayerInput::Static { scale, zero })
    }

    /// `weight_shape`, checked against the codes.
    fn shape(
        &self,
        path: &str,
        scheme: Scheme,
        packed: &Stored<'_>,
        source: &dyn TensorSource,
    ) -> Result<(usize, usize)> {
        let stored = self.required(path, SHAPE, source)?;
        self.expect(path, SHAPE, &stored, "I64", &[vec![2]])?;
        let extents: Vec<_> =
            stored.bytes.as_chunks().0.iter().map(|extent| usize::try_from(i64::from_le_bytes(*extent))).collect();
        let (Ok(rows), Ok(cols)) = (extents[0], extents[1]) else {
            return Err(self.malformed(path, "weight_shape has a negative extent"));
        };
        let bits = usize::from(scheme.bits().get());
        let words = cols.checked_mul(bits).map(|length| length.div_ceil(32));
        let sizes = words.filter(|_| rows > 0 && cols > 0 && rows.checked_mul(cols).is_some());
        let Some(words) = sizes else {
            return Err(self.malformed(path, &format!("weight_shape ({rows}, {cols}) is no shape of a weight")));
        };
        if packed.dtype != "I32" || packed.shape != [rows, words] {
            let detail = format!(
                "{PACKED} should be I32 of shape [{rows}, {words}] for {bits} bits and weight_shape ({rows}, {cols}), \
                 but is {} of shape {:?}",
                packed.dtype, packed.shape
            );
            return Err(self.malformed(path, &detail));
        }
        Ok((rows, cols))
    }

    fn zeros(&self, layer: &LayerSpec, form: Form, stored: &Stored<'_>) -> Result<Vec<u8>> {
        let bits = layer.scheme.bits();
        if form == Form::Packed && layer.scheme.span() != Span::Tensor {
            let per_row = layer.scheme.groups(layer.rows, layer.cols).per_row();
            return Packing::Columns.unpack(&bytes_to_words(stored.bytes), layer.rows, per_row, bits);
        }
        let zeros: Vec<u8> = stored.bytes.iter().map(|zero| zero.wrapping_add(bits.middle())).collect();
        match zeros.iter().find(|zero| **zero > bits.max_code()) {
            Some(_) => Err(self.malformed(&layer.path, &format!("weight_zero_point is no {bits}-bit number"))),
            None => Ok(zeros),
        }
    }
}

impl Importer for Reader {
    fn name(&self) -> &'static str {
        NAME
    }

    fn layers(&self, source: &dyn TensorSource) -> Result<Vec<LayerSpec>> {
        self.check_targets(source)?;
        let [packed, plain] = [PACKED, WEIGHT].map(|suffix| format!(".{suffix}"));
        let mut paths = Vec::new();
        for name in source.names() {
            if let Some(path) = name.strip_suffix(&packed) {
                paths.push(path);
            } else if let Some(path) = name.strip_suffix(&plain)
                && source.find(name)?.is_some_and(|stored| stored.dtype == "I8")
            {
                paths.push(path);
            }
        }
        paths.into_iter().map(|path| self.in_file(path, source, |own| Ok(own.parts(path, source)?.layer))).collect()
    }

    fn decode(&self, path: &str, source: &dyn TensorSource) -> Result<PackedTensor> {
        self.in_file(path, source, |own| own.unpack(path, source))
    }
}

impl Reader {
    /// Runs `call` with errors that name the file of a layer, where it is known, instead of the folder.
    fn in_file<T>(&self, layer: &str, source: &dyn TensorSource, call: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        call(self).map_err(|error| match (error, file_of(source, layer)) {
            (Error::Format { path, detail }, Some(file)) if path == self.folder => Error::format(file, detail),
            (error, _) => error,
        })
    }

    fn check_targets(&self, source: &dyn TensorSource) -> Result<()> {
        for path in self.config.explicit() {
            let dense = source.find(&tensor_name(path, WEIGHT))?.is_some_and(|stored| stored.dtype != "I8");
            if dense && source.find(&tensor_name(path, PACKED))?.is_none() {
                return Err(self.malformed(
                    path,
                    "a config group targets it, but its `weight` is no code, nor is there weight_packed",
                ));
            }
        }
        Ok(())
    }

    fn unpack(&self, path: &str, source: &dyn TensorSource) -> Result<PackedTensor> {
        let Parts { layer, form, codes, scale, zero, kept } = self.parts(path, source)?;
        let scales = layer.scheme.scale_type().decode(scale.bytes);
        if let Some(at) = scales.iter().position(|scale| !scale.is_finite()) {
            return Err(self.malformed(path, &format!("{SCALE} {at} is {}", scales[at])));
        }
        let zeros = zero.map(|zero| self.zeros(&layer, form, &zero)).transpose()?;
        let codes = match form {
            Form::Packed => bytes_to_words(codes.bytes),
            Form::Int => Packing::Rows.pack(&signed(codes.bytes), layer.rows, layer.cols, layer.scheme.bits())?,
        };
        let kept = kept.map(|kept| kept.bytes.to_vec());
        Ok(PackedTensor { scheme: layer.scheme, rows: layer.rows, cols: layer.cols, codes, scales, zeros, kept })
    }
}
