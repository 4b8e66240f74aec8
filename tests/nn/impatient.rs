//! Who stops a training.

use bitsmith::progress::Progress;

/// Asks to stop after so many units.
pub struct Impatient(pub u64);

impl Progress for Impatient {
    fn begin(&mut self, _: &str, _: u64) {}
    fn advance(&mut self, units: u64, _: &str) {
        self.0 = self.0.saturating_sub(units);
    }
    fn end(&mut self) {}
    fn cancelled(&self) -> bool {
        self.0 == 0
    }
}
