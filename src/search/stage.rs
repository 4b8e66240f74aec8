//! The progress of a stage of a search, from what methods tell of each block.

use crate::progress::Progress;

/// Units of one piece of work, whatever a method counts.
const PIECE: u64 = 1000;

/// One stage of several pieces of work. What a method begins, advances and ends is a share of its piece.
pub(super) struct Stage<'a> {
    whole: &'a mut dyn Progress,
    total: u64,
    told: u64,
    count: u64,
    of: u64,
    note: String,
}

impl<'a> Stage<'a> {
    /// Begins a stage of so many pieces.
    pub(super) fn begin(whole: &'a mut dyn Progress, what: &str, pieces: usize) -> Self {
        whole.begin(what, PIECE * pieces as u64);
        Self { whole, total: 0, told: 0, count: 0, of: 0, note: String::new() }
    }

    /// A piece is done.
    pub(super) fn piece(&mut self, note: &str) {
        self.whole.advance(PIECE - self.told, note);
        (self.told, self.total, self.count, self.of) = (0, 0, 0, 0);
        self.note = note.to_owned();
    }

    /// The stage is over.
    pub(super) fn finish(self) {
        self.whole.end();
    }
}

impl Progress for Stage<'_> {
    fn begin(&mut self, _: &str, total: u64) {
        (self.count, self.of) = (0, total);
    }

    fn advance(&mut self, units: u64, note: &str) {
        self.count += units;
        // The last share is for what follows the method's own work.
        let told = (PIECE - 1) * self.count.min(self.of) / self.of.max(1);
        let text = if note.is_empty() { &self.note } else { note };
        self.whole.advance(told.saturating_sub(self.told), text);
        self.told = self.told.max(told);
    }

    fn end(&mut self) {}

    fn cancelled(&self) -> bool {
        self.whole.cancelled()
    }
}
