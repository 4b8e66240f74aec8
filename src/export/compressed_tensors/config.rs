//! The `quantization_config` of compressed-tensors, read into what it says of each layer.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::inputs::Inputs;
use super::{Form, LINEAR, MIXED, NAME, THRESHOLD};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::scheme::{Bits, Pattern, Scheme, Span, Zero};

/// Most groups, and most regular expressions, of a configuration; paths are not limited.
const MAX_CHOICES: usize = 1000;

/// A configuration that was read and checked.
#[derive(Debug)]
pub(super) struct Config {
    groups: Vec<Group>,
    ignore: Targets,
    /// From which magnitude on the inputs with a scale for each token are outliers, if they may be.
    pub(super) threshold: Option<f32>,
}

#[derive(Debug)]
struct Group {
    name: String,
    targets: Targets,
    said: Said,
}

/// What a group says of its layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Said {
    /// The scale type means nothing here.
    pub(super) scheme: Scheme,
    pub(super) form: Form,
    pub(super) inputs: Inputs,
}

/// The layers that a list of `targets` or `ignore` names.
#[derive(Debug, Default)]
struct Targets {
    paths: BTreeSet<String>,
    patterns: Vec<Pattern>,
    linear: bool,
}

/// How specifically a target names a layer; the package lets the most specific one win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Precedence {
    Path,
    Regex,
    Class,
}

impl Targets {
    fn read(texts: &[String], file: &Path, at: &str) -> Result<Self> {
        let mut targets = Self::default();
        for text in texts {
            if text == LINEAR {
                targets.linear = true;
            } else if text.starts_with(Pattern::REGEX_PREFIX) {
                limit(file, at, "expressions", targets.patterns.len() + 1)?;
                targets.patterns.push(Pattern::parse(text).map_err(|e| Error::format(file, format!("{at}: {e}")))?);
            } else {
                targets.paths.insert(text.clone());
            }
        }
        Ok(targets)
    }

    fn names(&self, path: &str) -> Option<Precedence> {
        if self.paths.contains(path) {
            Some(Precedence::Path)
        } else if self.patterns.iter().any(|pattern| pattern.matches(path)) {
            Some(Precedence::Regex)
        } else {
            self.linear.then_some(Precedence::Class)
        }
    }
}

impl Config {
    /// Checks every field that changes the meaning of a weight.
    pub(super) fn read(config: &Value, file: &Path) -> Result<Self> {
        let field = "quantization_config";
        let top: Top = Deserialize::deserialize(config).map_err(|e| Error::format(file, format!("{field}: {e}")))?;
        if top.quant_method != NAME {
            return Err(Error::format(file, format!("{field}.quant_method is `{}`, not `{NAME}`", top.quant_method)));
        }
        for (name, value) in [
            ("kv_cache_scheme", &top.kv_cache_scheme),
            ("sparsity_config", &top.sparsity_config),
            ("transform_config", &top.transform_config),
        ] {
            if value.as_ref().is_some_and(|value| !is_empty(value)) {
                return Err(unsupported(file, &format!("{field}.{name}"), "it changes what the weights mean"));
            }
        }
        let ignore = top.ignore.unwrap_or_default();
        let threshold = top.llm_int8_threshold;
        if let Some(threshold) = threshold.filter(|threshold| !(*threshold > 0.0 && threshold.is_finite())) {
            return Err(Error::format(file, format!("{field}.{THRESHOLD} is {threshold}, which is no number above 0")));
        }
        let ignore = Targets::read(&ignore, file, &format!("{field}.ignore"))?;
        let mut read = Self { groups: Vec::new(), ignore, threshold };
        let all = format!("{field}.config_groups");
        limit(file, &all, "groups", top.config_groups.len())?;
        let mut patterns = read.ignore.patterns.len();
        for (name, value) in &top.config_groups {
            let at = format!("{all}.{name}");
            let group: GroupFields =
                Deserialize::deserialize(value).map_err(|e| Error::format(file, format!("{at}: {e}")))?;
            let targets = Targets::read(&group.targets, file, &format!("{at}.targets"))?;
            patterns += targets.patterns.len();
            limit(file, &all, "expressions", patterns)?;
            let said = group.read(top.format.as_deref(), file, &at)?;
            read.groups.push(Group { name: name.clone(), targets, said });
        }
        Ok(read)
    }

    /// What is said of the layer at `path`: `Err` says why nothing is.
    pub(super) fn said(&self, path: &str) -> std::result::Result<Said, String> {
        if self.ignore.names(path).is_some() {
            return Err("config_groups do not apply to it: it is in `ignore`".to_owned());
        }
        let matches = self.groups.iter().filter_map(|group| Some((group.targets.names(path)?, group)));
        let mut matches: Vec<_> = matches.collect();
        matches.sort_by_key(|(precedence, _)| *precedence);
        match &matches[..] {
            [] => Err("no config group targets it".to_owned()),
            [(first, a), (second, b), ..] if first == second && a.said != b.said => {
                Err(format!("config groups {} and {} both target it and differ", a.name, b.name))
            }
            [(_, group), ..] => Ok(group.said),
        }
    }

    /// Layers that are targeted by their exact path and not ignored.
    pub(super) fn explicit(&self) -> impl Iterator<Item = &str> {
        let paths = self.groups.iter().flat_map(|group| &group.targets.paths);
        paths.map(String::as_str).filter(|path| self.said(path).is_ok())
    }
}

/// Refuses more `what` than [`MAX_CHOICES`]: each layer is compared with each of them.
fn limit(file: &Path, at: &str, what: &str, count: usize) -> Result<()> {
    match count {
        0..=MAX_CHOICES => Ok(()),
        _ => Err(Error::format(file, format!("{at} holds over {MAX_CHOICES} {what}; list layers by their paths"))),
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty)
}

pub(super) fn unsupported(file: &Path, what: &str, remedy: &str) -> Error {
    Error::Unsupported {
        what: format!("{}: {what}", file.display()),
        remedy: format!("{remedy}; read a {} or {} model", Form::Packed.name(), Form::Int.name()),
    }
}

/// Other keys of the top level say nothing about the weights, and the package ignores those it does not know, such as the
/// threshold.
#[derive(Deserialize)]
struct Top {
    quant_method: String,
    format: Option<String>,
    config_groups: Map<String, Value>,
    ignore: Option<Vec<String>>,
    kv_cache_scheme: Option<Value>,
    sparsity_config: Option<Value>,
    transform_config: Option<Value>,
    llm_int8_threshold: Option<f32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupFields {
    targets: Vec<String>,
    weights: Option<Weights>,
    input_activations: Option<Value>,
    output_activations: Option<Value>,
    format: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "fields without a meaning for decoding are listed so that unknown ones are refused")]
struct Weights {
    #[serde(default = "eight")]
    num_bits: u64,
    r#type: Option<String>,
    #[serde(default = "yes")]
    symmetric: bool,
    strategy: Option<String>,
    group_size: Option<i64>,
    dynamic: Option<Value>,
    actorder: Option<Value>,
    block_structure: Option<Value>,
    scale_dtype: Option<Value>,
    zp_dtype: Option<Value>,
    observer: Option<Value>,
    observer_kwargs: Option<Value>,
}

/// The package's default for `num_bits`.
pub(super) const fn eight() -> u64 {
    8
}

/// The package's default for `symmetric`.
pub(super) const fn yes() -> bool {
    true
}

impl GroupFields {
    fn read(&self, top_format: Option<&str>, file: &Path, at: &str) -> Result<Said> {
        let format = self.format.as_deref().or(top_format.filter(|format| *format != MIXED));
        let form = match format.map(|name| (name, Form::named(name))) {
            Some((_, Some(form))) => form,
            Some((other, None)) => {
                return Err(unsupported(file, &format!("{at}.format `{other}`"), "its layout is another"));
            }
            None => return Err(Error::format(file, format!("{at}.format is missing"))),
        };
        if self.output_activations.is_some() {
            return Err(unsupported(file, &format!("{at}.output_activations"), "outputs stay in floating point here"));
        }
        let inputs = Inputs::read(self.input_activations.as_ref(), file, at)?;
        let Some(weights) = &self.weights else {
            return Err(Error::format(file, format!("{at}.weights is missing")));
        };
        let scheme = weights.scheme(file, &format!("{at}.weights"))?;
        if form == Form::Packed && inputs != Inputs::Exact && !Form::fits_both(scheme, Some(inputs)) {
            let what = format!("{at}.input_activations with {}", form.name());
            return Err(unsupported(file, &what, "beside such packed codes activations stay in floating point"));
        }
        if form == Form::Int && !Form::fits_int(scheme) {
            let what = format!("{at}.weights with {}", form.name());
            return Err(unsupported(file, &what, "8 bits with a scale per channel or tensor can be read"));
        }
        Ok(Said { scheme, form, inputs })
    }
}

impl Weights {
    fn scheme(&self, file: &Path, at: &str) -> Result<Scheme> {
        let wrong = |field: &str, found: &dyn std::fmt::Display, remedy: &str| {
            Err(unsupported(file, &format!("{at}.{field} `{found}`"), remedy))
        };
        let bits = u8::try_from(self.num_bits).ok().and_then(|bits| Bits::new(bits).ok());
        let Some(bits) = bits else {
            return wrong("num_bits", &self.num_bits, "2, 3, 4 and 8 bits can be read");
        };
        match self.r#type.as_deref() {
            None | Some("int") => {}
            Some(other) => return wrong("type", &other, "integers can be read"),
        }
        match &self.dynamic {
            None | Some(Value::Bool(false)) => {}
            Some(other) => return wrong("dynamic", other, "the scales of weights are static"),
        }
        match &self.actorder {
            None | Some(Value::Bool(false)) => {}
            // These two order the columns while quantizing and store them in their own order.
            Some(Value::String(order)) if order == "weight" || order == "static" => {}
            Some(other) => return wrong("actorder", other, "columns must be in their own order"),
        }
        if let Some(block) = &self.block_structure {
            return wrong("block_structure", block, "groups lie within a row");
        }
        let zero = if self.symmetric { Zero::Symmetric } else { Zero::Stored };
        Ok(Scheme::new(bits, self.span(file, at)?, zero).with_scale_type(Dtype::F32))
    }

    /// The span, inferred from the group size alone where there is no strategy, as the package does.
    fn span(&self, file: &Path, at: &str) -> Result<Span> {
        let strategy = match (self.strategy.as_deref(), self.group_size) {
            (Some(strategy), _) => strategy,
            (None, None) => "tensor",
            (None, Some(-1)) => "channel",
            (None, Some(_)) => "group",
        };
        let found = self.group_size.map_or("null".to_owned(), |size| size.to_string());
        let sized = |detail: &str| Error::format(file, format!("{at}.group_size {found}: {detail}"));
        match (strategy, self.group_size) {
            ("tensor", None | Some(-1)) => Ok(Span::Tensor),
            ("channel", None | Some(-1)) => Ok(Span::Channel),
            ("group", Some(size)) if size > 0 => {
                let span = usize::try_from(size).map_err(|e| sized(&e.to_string())).and_then(Span::group);
                span.map_err(|e| unsupported(file, at, &e.to_string()))
            }
            ("group", _) => Err(sized("strategy `group` needs a positive size")),
            ("tensor" | "channel", _) => Err(sized("a size goes with strategy `group` only")),
            (other, _) => {
                let what = format!("{at}.strategy `{other}`");
                Err(unsupported(file, &what, "tensor, channel and group can be read"))
            }
        }
    }
}
