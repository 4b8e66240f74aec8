//! Whether a device computes rightly: cases of one kernel each, run on a device and by the plain twin. The same
//! cases serve the conformance suite, the self-test when a GPU is opened, and the benches.

mod case;
mod cases;
mod compare;
mod large;
mod open;
mod self_test;

pub use case::{Binding, Case};
pub use cases::{all, large};
pub use compare::Tolerance;
pub use large::{LargeCase, Product, Scale};
#[cfg(feature = "wgpu")]
pub use open::open_adapter;
#[cfg(feature = "cuda")]
pub use open::open_card;
pub use open::open_device;
pub use self_test::{SelfTest, self_test};
