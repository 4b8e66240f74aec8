//! Every parser of the crate as a function of bytes: `Err` is what a reader would be told, `Ok` has passed the checks
//! that the rest of the crate relies on. The tests here and the fuzzer in `fuzz/` call the same functions.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use bitsmith::export::{Record, Stored, TensorSource, importer};
use bitsmith::io::{
    Architecture, Documents, GgufHeader, GgufTokenizer, Header, Index, ModelConfig, Text, Tokenizer, Windows,
};
use bitsmith::quant::{GroupSize, Quantizer, Rtn, RtnConfig, parse_plan};
use bitsmith::scheme::Pattern;
use bitsmith::search::{BitsLadder, ImportanceWeights, Increase, MixedPrecisionConfig, Split};
use bitsmith::{Activation, DeviceRequest, Dtype, Error, RangeRule, Result, Rounding, Scheme, Span};
use serde::Deserialize;
use serde_json::Value;

/// A parser on arbitrary bytes.
pub type Target = fn(&[u8]) -> Result<()>;

/// Every target by its name, which is also the folder of its cases.
pub const ALL: [(&str, Target); 15] = [
    ("header", header),
    ("gguf", gguf),
    ("index", index),
    ("config", config),
    ("tokenizer", tokenizer),
    ("quantization", quantization),
    ("scheme", scheme),
    ("plan", plan),
    ("record", record),
    ("pattern", pattern),
    ("text", text),
    ("settings", settings),
    ("name", name),
    ("rows", rows),
    ("parquet", parquet),
];

/// Rows of the embedding that a tokenizer under test belongs to.
const VOCABULARY: usize = 1 << 16;
/// Longer tokenizers are left out: the crate that reads them takes time for each, and nothing new comes of length.
const MAX_TOKENIZER: usize = 1 << 14;

fn lossy(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// The bytes are a safetensors file.
pub fn header(bytes: &[u8]) -> Result<()> {
    let header = Header::parse("model.safetensors".as_ref(), bytes, bytes.len() as u64)?;
    let mut end = header.tensors.first().map_or(bytes.len(), |first| first.range.start);
    for tensor in &header.tensors {
        assert_eq!(tensor.range.start, end, "a gap or an overlap");
        assert_eq!(tensor.dtype.bytes(&tensor.shape), Some(tensor.bytes()));
        end = tensor.range.end;
    }
    assert_eq!(end, bytes.len());
    Ok(())
}

/// The bytes are a GGUF file; its configuration and its tokenizer are read as well.
pub fn gguf(bytes: &[u8]) -> Result<()> {
    let path: &Path = "model.gguf".as_ref();
    let header = GgufHeader::parse(path, bytes)?;
    let mut end = 0;
    for tensor in &header.tensors {
        assert!(tensor.range.start >= end && tensor.range.end <= bytes.len(), "an overlap, or beyond the file");
        assert_eq!(tensor.dtype.bytes(&tensor.shape), Some(tensor.range.len()));
        end = tensor.range.end;
    }
    let config = ModelConfig::from_value(path, &header.config(path)?)?;
    let tokenizer = GgufTokenizer::of(path, &header)?.json()?.to_string();
    if tokenizer.len() > MAX_TOKENIZER {
        return Err(Error::config("length", "over what is tried here"));
    }
    Tokenizer::parse(path, tokenizer.as_bytes(), config.vocab_size).map(drop)
}

/// The bytes are the index of a split checkpoint.
pub fn index(bytes: &[u8]) -> Result<()> {
    let index = Index::parse("model.safetensors.index.json".as_ref(), bytes)?;
    for file in index.files() {
        assert!(!file.starts_with('/') && !file.split('/').any(|part| part == ".."), "{file} leaves the folder");
    }
    Ok(())
}

/// The bytes are a `config.json`.
pub fn config(bytes: &[u8]) -> Result<()> {
    let (config, _) = ModelConfig::parse("config.json".as_ref(), &lossy(bytes))?;
    assert!(config.head_dim > 0);
    assert!(config.num_attention_heads.is_multiple_of(config.num_key_value_heads));
    assert!(config.context() > 0 && config.norm_eps > 0.0);
    let ids = config.eos_token_ids.iter().chain(&config.bos_token_id);
    assert!(ids.into_iter().all(|id| (*id as usize) < config.vocab_size));
    if let Architecture::Llama(llama) = &config.architecture {
        assert!(config.head_dim.is_multiple_of(2), "rotation takes pairs");
        assert!(llama.rope.theta.is_finite() && llama.rope.theta > 0.0);
        assert!(llama.window(0) != Some(0) && llama.window(config.num_hidden_layers) != Some(0));
    }
    Ok(())
}

/// The bytes are a `tokenizer.json`; a text is encoded and decoded with it.
pub fn tokenizer(bytes: &[u8]) -> Result<()> {
    if bytes.len() > MAX_TOKENIZER {
        return Err(Error::config("length", "over what is tried here"));
    }
    let tokenizer = Tokenizer::parse("tokenizer.json".as_ref(), bytes, VOCABULARY)?;
    for text in ["", " a bb  ccc\n", "\u{e9}\u{301} \u{1f600}<s>0123456789abcdefghijklmnopqrstuvwxyz"] {
        let ids = tokenizer.encode(text, true)?;
        assert!(ids.iter().all(|id| (*id as usize) < VOCABULARY));
        tokenizer.decode(&ids)?;
        let mut stream = tokenizer.decode_stream(&[]);
        for id in ids {
            stream.push(id)?;
        }
        stream.finish()?;
    }
    Ok(())
}

/// The bytes are JSON: a `quantization_config`, and the tensors of a file as type, shape and bytes.
pub fn quantization(bytes: &[u8]) -> Result<()> {
    let case: Case = serde_json::from_slice(bytes).map_err(|e| Error::format("case", e.to_string()))?;
    let importer = importer(&case.quantization_config, Path::new("model"))?;
    for layer in importer.layers(&case)? {
        let weight = importer.decode(&layer.path, &case)?;
        assert_eq!((weight.rows, weight.cols, weight.scheme), (layer.rows, layer.cols, layer.scheme));
        assert_eq!(weight.scales.len(), layer.scheme.groups(layer.rows, layer.cols).count());
        assert_eq!(weight.unpack()?.codes().len(), layer.rows * layer.cols);
        let columns = layer.input.columns().map(<[u32]>::len);
        assert!(columns.is_none_or(|columns| columns == layer.cols));
    }
    for decoded in importer.decoded(&case)? {
        let values = importer.values(&decoded.layer.path, &case)?;
        assert_eq!((values.rows(), values.cols()), (decoded.layer.rows, decoded.layer.cols));
    }
    Ok(())
}

#[derive(Deserialize)]
struct Case {
    quantization_config: Value,
    tensors: BTreeMap<String, (String, Vec<usize>, Vec<u8>)>,
}

impl TensorSource for Case {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.tensors.keys().map(String::as_str))
    }

    fn find(&self, name: &str) -> Result<Option<Stored<'_>>> {
        let tensor = self.tensors.get(name);
        Ok(tensor.map(|(dtype, shape, bytes)| Stored { dtype, shape: shape.clone(), bytes }))
    }
}

/// The bytes are the name of a scheme; what parses prints as something that parses to the same.
pub fn scheme(bytes: &[u8]) -> Result<()> {
    let scheme = Scheme::from_str(&lossy(bytes))?;
    assert_eq!(Scheme::from_str(&scheme.to_string())?, scheme);
    Ok(())
}

/// The bytes are a plan; what reads is written as something that reads as the same.
pub fn plan(bytes: &[u8]) -> Result<()> {
    let read = |bytes: &[u8]| parse_plan("plan.json".as_ref(), bytes);
    let plan = read(bytes)?;
    let written = serde_json::to_vec(&plan).map_err(|e| Error::format("plan.json", e.to_string()))?;
    assert_eq!(read(&written)?, plan);
    Ok(())
}

/// The bytes are a `bitsmith.json`.
pub fn record(bytes: &[u8]) -> Result<()> {
    let record = Record::parse(Record::FILE.as_ref(), bytes)?;
    assert!(record.layers.iter().all(|layer| !layer.shape.contains(&0) && layer.mse >= 0.0));
    Ok(())
}

/// The bytes are a layer pattern; it is matched against a few paths.
pub fn pattern(bytes: &[u8]) -> Result<()> {
    let pattern = Pattern::parse(&lossy(bytes))?;
    for path in ["", "lm_head", "model.layers.0.self_attn.q_proj", &"a".repeat(1000)] {
        pattern.matches(path);
    }
    Ok(())
}

/// The bytes are a line that separates documents, then the text; its characters stand for the tokens of windows.
pub fn text(bytes: &[u8]) -> Result<()> {
    let all = std::str::from_utf8(bytes).map_err(|e| Error::format("text.txt", e.to_string()))?;
    let (separator, content) = all.split_once('\n').unwrap_or(("|", all));
    let text = Text::new("text.txt".as_ref(), content.to_owned());
    assert_eq!(text.sha256().len(), 64);
    let documents = text.documents(Some(separator), None)?;
    for document in &documents {
        assert!(!document.is_empty() && document.trim() == *document && !document.contains(separator));
    }
    assert_eq!(text.documents(Some(separator), Some(1))?, documents[..1]);
    let (tokens, window, stride) = (content.len(), documents[0].len(), separator.len());
    let mut scored = 0;
    let windows = Windows::new(tokens, window, stride)?;
    for window in windows.clone() {
        assert!(window.targets().start > window.start && window.targets().end <= tokens);
        scored += window.scored();
    }
    assert_eq!(scored, windows.scored());
    Ok(())
}

/// The bytes are the settings of a method, as `bitsmith.json` records them; what is taken is written as the same.
pub fn settings(bytes: &[u8]) -> Result<()> {
    if let Ok(config) = serde_json::from_slice::<MixedPrecisionConfig>(bytes)
        && config != MixedPrecisionConfig::default()
    {
        config.check()?;
        assert!(!config.ladder()?.schemes().is_empty());
        let written = serde_json::to_vec(&config).map_err(|e| Error::format("settings", e.to_string()))?;
        assert_eq!(serde_json::from_slice::<MixedPrecisionConfig>(&written).ok(), Some(config));
        return Ok(());
    }
    let config: RtnConfig = serde_json::from_slice(bytes).map_err(|e| Error::format("settings", e.to_string()))?;
    let rtn = Rtn::new(config.clone())?;
    assert_eq!(rtn.scheme().bits().get(), config.bits);
    let written = serde_json::from_value(rtn.settings()).map_err(|e| Error::format("settings", e.to_string()))?;
    assert_eq!(config, written);
    Ok(())
}

/// The bytes are a kind of name and a name; what parses prints as something that parses to the same.
pub fn name(bytes: &[u8]) -> Result<()> {
    fn same<T: FromStr<Err = Error> + ToString + PartialEq + std::fmt::Debug>(text: &str) -> Result<()> {
        let value: T = text.parse()?;
        assert_eq!(value.to_string().parse::<T>()?, value);
        Ok(())
    }
    let text = lossy(bytes);
    match text.split_once(' ') {
        Some(("device", name)) => same::<DeviceRequest>(name),
        Some(("dtype", name)) => same::<Dtype>(name),
        Some(("activation", name)) => same::<Activation>(name),
        Some(("range", name)) => same::<RangeRule>(name),
        Some(("rounding", name)) => same::<Rounding>(name),
        Some(("span", name)) => same::<Span>(name),
        Some(("group-size", name)) => same::<GroupSize>(name),
        Some(("bits-ladder", name)) => same::<BitsLadder>(name),
        Some(("split", name)) => same::<Split>(name),
        // Shown with twelve digits of percent.
        Some(("increase", name)) => name.parse::<Increase>()?.to_string().parse::<Increase>().map(drop),
        Some(("importance-weights", name)) => name.parse::<ImportanceWeights>().map(drop),
        _ => Err(Error::config("kind", "is none of those that are tried here")),
    }
}

/// The bytes are rows as JSON lines.
pub fn rows(bytes: &[u8]) -> Result<()> {
    documents("rows.jsonl", bytes)
}

/// The bytes are a parquet file.
pub fn parquet(bytes: &[u8]) -> Result<()> {
    documents("rows.parquet", bytes)
}

fn documents(name: &str, bytes: &[u8]) -> Result<()> {
    let mut documents = Documents::parse(name.as_ref(), bytes.to_vec(), "text")?;
    for document in &mut documents {
        assert!(!document?.trim().is_empty());
    }
    assert!(documents.next().is_none() && documents.sha256().len() == 64);
    Ok(())
}
