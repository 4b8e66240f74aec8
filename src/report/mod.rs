//! Results as text that people read.

mod devices;
mod evaluation;
mod inspection;
mod number;
mod quantization;
mod table;

pub use devices::{DeviceReport, DeviceReports};
pub use evaluation::{evaluation, speed};
pub use inspection::{Entry, Inspection, Totals};
pub use quantization::quantization;
