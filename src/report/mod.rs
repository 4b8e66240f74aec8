//! Results as text that people read, and as pages ([`html`]).

mod devices;
mod evaluation;
pub mod html;
mod inspection;
mod number;
mod quantization;
mod table;
mod visible;

pub use devices::{DeviceReport, DeviceReports};
pub use evaluation::{evaluation, speed};
pub use inspection::{Entry, Inspection, Totals};
pub use quantization::quantization;
pub use visible::visible;
