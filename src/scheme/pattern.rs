//! Naming layers: an exact path, the end of one, or a regular expression.

use regex::{Regex, RegexBuilder};

use crate::error::{Error, Result};

/// Bytes that a compiled expression may take; those that name layers take a few thousand.
const MAX_COMPILED: usize = 1 << 20;

/// A layer pattern as people type it.
///
/// ```
/// use bitsmith::scheme::Pattern;
/// assert!(Pattern::parse("lm_head")?.matches("lm_head"));
/// assert!(Pattern::parse("mlp.down_proj")?.matches("model.layers.3.mlp.down_proj"));
/// assert!(!Pattern::parse("proj")?.matches("model.layers.3.mlp.down_proj"));
/// assert!(Pattern::parse(r"re:model\.layers\.[0-3]\.")?.matches("model.layers.3.mlp.down_proj"));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum Pattern {
    /// A whole path, or its end on a dot boundary.
    Suffix(String),
    /// A regular expression that matches from the start of a path, not necessarily to its end.
    Regex(Regex),
}

impl Pattern {
    /// What a regular expression starts with.
    pub const REGEX_PREFIX: &'static str = "re:";

    /// Reads `down_proj`, `model.layers.0.mlp.down_proj` or `re:.*down_proj`.
    ///
    /// # Errors
    /// [`Error::Config`] for an empty pattern and for an expression that does not compile or takes over a megabyte.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |detail: String| Error::config("pattern", detail);
        let body = text.strip_prefix(Self::REGEX_PREFIX).unwrap_or(text);
        if body.is_empty() {
            return Err(bad(format!("`{text}` is empty; give a layer path, its end, or re: and an expression")));
        }
        if body.len() == text.len() {
            return Ok(Self::Suffix(text.to_owned()));
        }
        let regex = RegexBuilder::new(body).size_limit(MAX_COMPILED).dfa_size_limit(MAX_COMPILED).build();
        regex.map(Self::Regex).map_err(|e| bad(format!("`{text}` is no regular expression: {e}")))
    }

    /// Whether the pattern names this layer.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Suffix(suffix) => {
                path.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            // The leftmost match is at the start if there is any match at the start.
            Self::Regex(regex) => regex.find(path).is_some_and(|found| found.start() == 0),
        }
    }
}

/// Patterns of layers to leave alone, counting what each of them matched.
///
/// ```
/// use bitsmith::scheme::SkipList;
/// let mut skip = SkipList::new(&["lm_head".into(), "typo_proj".into()])?;
/// assert!(skip.matches("lm_head"));
/// assert_eq!(skip.unmatched(), ["typo_proj"]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct SkipList {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    text: String,
    pattern: Pattern,
    count: usize,
}

impl SkipList {
    /// Parses the patterns.
    ///
    /// # Errors
    /// Those of [`Pattern::parse`].
    pub fn new(patterns: &[String]) -> Result<Self> {
        let entry = |text: &String| Ok(Entry { text: text.clone(), pattern: Pattern::parse(text)?, count: 0 });
        Ok(Self { entries: patterns.iter().map(entry).collect::<Result<_>>()? })
    }

    /// Whether any pattern names this layer; each one that does is counted.
    pub fn matches(&mut self, path: &str) -> bool {
        let mut any = false;
        for entry in self.entries.iter_mut().filter(|entry| entry.pattern.matches(path)) {
            entry.count += 1;
            any = true;
        }
        any
    }

    /// Patterns that have matched nothing so far: probably misspelt.
    pub fn unmatched(&self) -> Vec<&str> {
        self.entries.iter().filter(|entry| entry.count == 0).map(|entry| entry.text.as_str()).collect()
    }
}
