//! What the steps of a recording took.

/// The time of one dispatch on the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepTime {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// From its start to its end.
    pub seconds: f64,
}
