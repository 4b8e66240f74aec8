//! The files of a model's layers.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use prost::Message;
use serde::Deserialize;

use super::proto::{
    Attribute, Dimension, Entry, Graph, Kind, Model, Node, OperatorSet, Shape, Tensor, TensorKind, Value,
};
use super::reader::{Layers, Reader};
use super::{BIAS, CODES, Layer, SCALES, ZEROS};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::export::layer_tensors::tensor_name;
use crate::export::{Container, Opened, WholeModel};
use crate::io::{FileLayout, Place, StoredDtype, TensorInfo, TensorSpec};

/// The operator, where it comes from, and the version there.
pub(super) const OPERATOR: &str = "MatMulNBits";
const DOMAIN: &str = "com.microsoft";
const DOMAIN_VERSION: i64 = 1;
/// The versions of the file format and of the standard operators that every reader of the last years takes.
const IR_VERSION: i64 = 10;
const OPSET: i64 = 21;
/// External data begins at multiples of this, so that it can be mapped.
const PAGE: u64 = 4096;

/// One file for each layer, and the weights.
#[derive(Debug)]
pub(super) struct Files {
    layers: Vec<Layer>,
    shard_size: u64,
}

impl Files {
    /// The files of a model whose config.json has the layers.
    pub(super) fn new(model: &WholeModel<'_>) -> Result<Self> {
        let layers = Deserialize::deserialize(&model.config["quantization_config"])
            .map_err(|e| Error::format(model.folder, format!("quantization_config: {e}")))?;
        Ok(Self { layers, shard_size: model.shard_size })
    }
}

impl Container for Files {
    fn kept(&self, tensor: &TensorInfo) -> Result<Option<TensorSpec>> {
        let layer = tensor.name.strip_suffix(BIAS).and_then(|rest| rest.strip_suffix('.'));
        let layer = self.layers.iter().find(|own| Some(own.path.as_str()) == layer);
        match (layer, tensor.dtype.dtype()) {
            (Some(layer), Some(_)) if tensor.shape == [layer.rows] => {
                Ok(Some(TensorSpec::new(tensor.name.clone(), StoredDtype::F32, [layer.rows])))
            }
            _ => Ok(None),
        }
    }

    fn convert<'a>(&self, tensor: &TensorInfo, bytes: Cow<'a, [u8]>) -> Result<Cow<'a, [u8]>> {
        match tensor.dtype.dtype() {
            None | Some(Dtype::F32) => Ok(bytes),
            Some(dtype) => Ok(Dtype::F32.encode(&dtype.decode(&bytes)).into()),
        }
    }

    fn files(&self, tensors: &[TensorSpec]) -> Result<Vec<FileLayout>> {
        let data = self.data_files(tensors)?;
        let mut places: HashMap<&str, (&str, &Place)> = HashMap::new();
        for file in &data {
            places.extend(file.tensors.iter().map(|place| (place.name.as_str(), (file.file.as_str(), place))));
        }
        let specs: BTreeMap<&str, &TensorSpec> = tensors.iter().map(|spec| (spec.name.as_str(), spec)).collect();
        let constant = |name: String| {
            let (spec, (file, place)) = (specs.get(name.as_str())?, places.get(name.as_str())?);
            Some(constant(spec, file, place))
        };
        let graph = |layer: &Layer| {
            let constants = [CODES, SCALES, ZEROS, BIAS].map(|part| constant(tensor_name(&layer.path, part)));
            FileLayout::whole(&format!("{}.onnx", layer.path), model(layer, constants).encode_to_vec())
        };
        let graphs: Vec<FileLayout> = self.layers.iter().map(graph).collect();
        Ok(data.into_iter().chain(graphs).collect())
    }

    fn opened(&self, folder: &Path) -> Result<Option<Opened>> {
        let layers = Layers::open(folder, &self.layers)?;
        Ok(Some((Box::new(Reader::new(folder, &layers)), Box::new(layers))))
    }

    fn companions(&self) -> bool {
        false
    }
}

impl Files {
    /// Files of at most the shard size, if no tensor is larger.
    fn data_files(&self, tensors: &[TensorSpec]) -> Result<Vec<FileLayout>> {
        let (mut files, mut current, mut bytes) = (Vec::new(), Vec::new(), 0_u64);
        for tensor in tensors {
            let more = tensor.bytes()?.next_multiple_of(PAGE);
            if !current.is_empty() && bytes.saturating_add(more) > self.shard_size {
                files.push(std::mem::take(&mut current));
                bytes = 0;
            }
            bytes += more;
            current.push(tensor.clone());
        }
        files.push(current);
        let name = |number: usize| format!("weights-{:05}.data", number + 1);
        let files = files.iter().filter(|tensors| !tensors.is_empty()).enumerate();
        files.map(|(number, tensors)| FileLayout::packed(&name(number), Vec::new(), tensors, PAGE)).collect()
    }
}

/// The number of an element type.
fn data_type(dtype: StoredDtype) -> i32 {
    const FLOAT: i32 = 1;
    const UINT8: i32 = 2;
    if dtype == StoredDtype::F32 { FLOAT } else { UINT8 }
}

fn constant(spec: &TensorSpec, file: &str, place: &Place) -> Tensor {
    let entry = |key: &str, value: String| Entry { key: Some(key.to_owned()), value: Some(value) };
    Tensor {
        dims: spec.shape.iter().map(|extent| *extent as i64).collect(),
        data_type: Some(data_type(spec.dtype)),
        name: Some(spec.name.clone()),
        external_data: vec![
            entry("location", file.to_owned()),
            entry("offset", place.start.to_string()),
            entry("length", place.bytes.to_string()),
        ],
        data_location: Some(Tensor::EXTERNAL),
    }
}

/// The file of a layer with its constants: codes, scales, zero points and bias.
fn model(layer: &Layer, constants: [Option<Tensor>; 4]) -> Model {
    let name = |constant: &Option<Tensor>| constant.as_ref().and_then(|tensor| tensor.name.clone()).unwrap_or_default();
    let [codes, scales, zeros, bias] = constants.each_ref().map(name);
    // The fifth input is an order of columns.
    let mut input = vec!["input".to_owned(), codes, scales, zeros, String::new(), bias];
    while input.last().is_some_and(String::is_empty) {
        input.pop();
    }
    let number =
        |name: &str, i: usize| Attribute { name: Some(name.to_owned()), i: Some(i as i64), kind: Some(Attribute::INT) };
    let node = Node {
        input,
        output: vec!["output".to_owned()],
        name: Some(layer.path.clone()),
        op_type: Some(OPERATOR.to_owned()),
        attribute: vec![
            number("K", layer.cols),
            number("N", layer.rows),
            number("bits", layer.bits.into()),
            number("block_size", layer.block),
        ],
        domain: Some(DOMAIN.to_owned()),
    };
    let value = |name: &str, width: usize| {
        let tokens = Dimension { value: None, name: Some("tokens".to_owned()) };
        let width = Dimension { value: Some(width as i64), name: None };
        let shape = Some(Shape { dim: vec![tokens, width] });
        let tensor = Some(TensorKind { elem_type: Some(data_type(StoredDtype::F32)), shape });
        Value { name: Some(name.to_owned()), kind: Some(Kind { tensor }) }
    };
    let opset = |domain: &str, version| OperatorSet { domain: Some(domain.to_owned()), version: Some(version) };
    Model {
        ir_version: Some(IR_VERSION),
        producer_name: Some("bitsmith".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        graph: Some(Graph {
            node: vec![node],
            name: Some(layer.path.clone()),
            initializer: constants.into_iter().flatten().collect(),
            input: vec![value("input", layer.cols)],
            output: vec![value("output", layer.rows)],
        }),
        opset_import: vec![opset("", OPSET), opset(DOMAIN, DOMAIN_VERSION)],
    }
}
