//! Reads layers of a compressed-tensors model, checking every tensor against the configuration and the others.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config::Config;
use super::{GROUP_INDEX, NAME, PACKED, SCALE, SHAPE, ZERO_POINT, bytes_to_words, scale_shape, tensor_name};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::export::{Importer, LayerSpec, Stored, TensorSource, file_of};
use crate::pack::{PackedTensor, Packing};
use crate::scheme::{Scheme, Span};

/// The reader of one model.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    config: Config,
}

/// The tensors of a layer, checked against each other.
struct Parts<'a> {
    layer: LayerSpec,
    packed: Stored<'a>,
    scale: Stored<'a>,
    zero: Option<Stored<'a>>,
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
        let arguments = self.config.scheme(path).map_err(|why| self.malformed(path, &why))?;
        if source.find(&tensor_name(path, GROUP_INDEX))?.is_some() {
            return Err(Error::Unsupported {
                what: format!("{}: {path}.{GROUP_INDEX}", self.folder.display()),
                remedy: "quantize without activation order, or with actorder `weight`".to_owned(),
            });
        }
        let packed = self.required(path, PACKED, source)?;
        let scale = self.required(path, SCALE, source)?;
        let scale_type = match scale.dtype {
            "F32" => Dtype::F32,
            "F16" => Dtype::F16,
            "BF16" => Dtype::Bf16,
            other => return Err(self.malformed(path, &format!("{SCALE} cannot be of type {other}"))),
        };
        let scheme = arguments.with_scale_type(scale_type);
        let (rows, cols) = self.shape(path, scheme, &packed, source)?;

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
            (Some(zero), false) if scheme.span() == Span::Tensor => {
                self.expect(path, ZERO_POINT, zero, "I8", &shapes)?;
            }
            (Some(zero), false) => {
                let words = Packing::Columns.words(rows, 1, scheme.bits());
                self.expect(path, ZERO_POINT, zero, "I32", &[vec![words, groups.per_row()]])?;
            }
        }
        let layer = LayerSpec { path: path.to_owned(), scheme, rows, cols };
        Ok(Parts { layer, packed, scale, zero })
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

    fn zeros(&self, layer: &LayerSpec, stored: &Stored<'_>) -> Result<Vec<u8>> {
        let bits = layer.scheme.bits();
        if layer.scheme.span() != Span::Tensor {
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
        let ending = format!(".{PACKED}");
        let paths: Vec<&str> = source.names().filter_map(|name| name.strip_suffix(&ending)).collect();
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
            let dense = source.find(&tensor_name(path, "weight"))?.is_some();
            if dense && source.find(&tensor_name(path, PACKED))?.is_none() {
                return Err(self.malformed(path, "a config group targets it, but it has `weight`, not weight_packed"));
            }
        }
        Ok(())
    }

    fn unpack(&self, path: &str, source: &dyn TensorSource) -> Result<PackedTensor> {
        let Parts { layer, packed, scale, zero } = self.parts(path, source)?;
        let scales = layer.scheme.scale_type().decode(scale.bytes);
        if let Some(at) = scales.iter().position(|scale| !scale.is_finite()) {
            return Err(self.malformed(path, &format!("{SCALE} {at} is {}", scales[at])));
        }
        let zeros = zero.map(|zero| self.zeros(&layer, &zero)).transpose()?;
        let codes = bytes_to_words(packed.bytes);
        Ok(PackedTensor { scheme: layer.scheme, rows: layer.rows, cols: layer.cols, codes, scales, zeros })
    }
}
