//! Results as text that people read.

mod bench;
mod devices;
mod evaluation;
mod inspection;
mod markdown;
mod number;
mod quantization;
mod table;

pub use bench::{kernel_bench, model_bench};
pub use devices::{DeviceReport, DeviceReports};
pub use evaluation::{evaluation, speed};
pub use inspection::{Entry, Inspection, Totals};
pub use quantization::quantization;
