//! The parsers of bitsmith as functions of bytes, shared with `tests/hostile`.

#[path = "../../tests/hostile/targets.rs"]
mod targets;

pub use targets::*;
