//! Standard output. The only place that writes there: whoever reads it may go away at any time.

use std::io::Write;

use bitsmith::{Error, Result};
use serde::Serialize;

/// What errors call it.
pub(super) const NAME: &str = "standard output";

/// Prints text as it is, at once.
pub(super) fn text(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| Error::io(NAME, e))
}

/// Prints one JSON object and ends the line.
pub(super) fn json(value: &impl Serialize) -> Result<()> {
    let mut json = serde_json::to_string_pretty(value).map_err(|e| Error::format(NAME, e.to_string()))?;
    json.push('\n');
    text(&json)
}
