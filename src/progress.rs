//! How long work tells of its progress.

/// Hears of progress. One stage at a time.
pub trait Progress {
    /// A stage of `total` units begins.
    fn begin(&mut self, what: &str, total: u64);

    /// `units` more are done; `note` says on what.
    fn advance(&mut self, units: u64, note: &str);

    /// The stage is over.
    fn end(&mut self);

    /// Whether to stop: asked between units of work.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&mut self, _: &str, _: u64) {}
    fn advance(&mut self, _: u64, _: &str) {}
    fn end(&mut self) {}
}
