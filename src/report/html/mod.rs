//! Results as one HTML page: inline style, light and dark, no script, nothing loaded from anywhere. It can be mailed,
//! printed and opened from disk.
//!
//! A report is a function that puts a `page` together from sections, tables and charts. Every value passes through
//! `maud`, which escapes it; names of tensors pass through `text::name` as well, which makes them safe to look at.

mod blocks;
mod chart;
mod facts;
mod file;
mod gradual;
mod importance;
mod layers;
mod observed;
mod page;
mod quantization;
mod text;
mod trained;
mod training;

pub use facts::RunFacts;
pub use file::ReportFile;
pub use importance::importance;
pub use quantization::quantization;
pub use trained::{classifier, training};
