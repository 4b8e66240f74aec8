//! Results as text that people read, and as pages ([`html`]).

mod bench;
mod devices;
mod evaluation;
mod export;
pub mod html;
mod importance;
mod inspection;
mod markdown;
mod number;
mod quantization;
mod search;
mod table;
mod training;
mod visible;

pub use bench::{kernel_bench, model_bench};
pub use devices::{AbsentDevice, DeviceReport, DeviceReports};
pub use evaluation::{evaluation, speed};
pub use export::exported;
pub use importance::importance;
pub use inspection::{Entry, Inspection, Totals};
pub use quantization::quantization;
pub use training::{classifier, training};
pub use visible::visible;
