//! Which layer gets which scheme.

use std::collections::HashMap;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Scheme;

/// The scheme of each layer to quantize, by module path, in the order of insertion. Layers that are not in it
/// are kept as they are.
///
/// ```
/// use bitsmith::scheme::Plan;
/// let mut plan = Plan::default();
/// plan.insert("model.layers.0.self_attn.q_proj", "w4g128s".parse()?);
/// let json = r#"{"layers":{"model.layers.0.self_attn.q_proj":"w4g128s"}}"#;
/// assert_eq!(serde_json::to_string(&plan).unwrap(), json);
/// assert_eq!(serde_json::from_str::<Plan>(json).unwrap(), plan);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    layers: Layers,
}

impl Plan {
    /// The scheme of a layer; `None` for one that is kept.
    pub fn get(&self, path: &str) -> Option<Scheme> {
        self.layers.index.get(path).map(|at| self.layers.entries[*at].1)
    }

    /// Sets the scheme of a layer and returns the one it had. A new layer comes last.
    pub fn insert(&mut self, path: impl Into<String>, scheme: Scheme) -> Option<Scheme> {
        self.layers.insert(path.into(), scheme)
    }

    /// Layers and schemes in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, Scheme)> {
        self.layers.entries.iter().map(|(path, scheme)| (path.as_str(), *scheme))
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.layers.entries.len()
    }

    /// Whether no layer is quantized.
    pub fn is_empty(&self) -> bool {
        self.layers.entries.is_empty()
    }

    /// The distinct schemes, in the order of their first layer.
    pub fn schemes(&self) -> Vec<Scheme> {
        let mut schemes = Vec::new();
        for (_, scheme) in self.iter() {
            if !schemes.contains(&scheme) {
                schemes.push(scheme);
            }
        }
        schemes
    }

    /// The one scheme that all layers share, if they do.
    pub fn uniform(&self) -> Option<Scheme> {
        match self.schemes()[..] {
            [scheme] => Some(scheme),
            _ => None,
        }
    }
}

impl<P: Into<String>> FromIterator<(P, Scheme)> for Plan {
    fn from_iter<I: IntoIterator<Item = (P, Scheme)>>(layers: I) -> Self {
        let mut plan = Self::default();
        for (path, scheme) in layers {
            plan.insert(path, scheme);
        }
        plan
    }
}

/// A map that keeps its order.
#[derive(Clone, Debug, Default)]
struct Layers {
    entries: Vec<(String, Scheme)>,
    index: HashMap<String, usize>,
}

impl Layers {
    fn insert(&mut self, path: String, scheme: Scheme) -> Option<Scheme> {
        if let Some(at) = self.index.get(&path) {
            return Some(std::mem::replace(&mut self.entries[*at].1, scheme));
        }
        self.index.insert(path.clone(), self.entries.len());
        self.entries.push((path, scheme));
        None
    }
}

impl PartialEq for Layers {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Serialize for Layers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.entries.iter().map(|(path, scheme)| (path, scheme)))
    }
}

impl<'de> Deserialize<'de> for Layers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Layers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("layer paths with their schemes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Layers, A::Error> {
                let mut layers = Layers::default();
                while let Some(path) = map.next_key::<String>()? {
                    let scheme = map.next_value().map_err(|e| de::Error::custom(format!("{path}: {e}")))?;
                    if layers.index.contains_key(&path) {
                        return Err(de::Error::custom(format!("{path} is planned twice")));
                    }
                    layers.insert(path, scheme);
                }
                Ok(layers)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
