//! The progress of all blocks together, from what a method tells of each.

use crate::progress::Progress;

/// Units of a block, whatever the method counts.
const BLOCK: u64 = 10_000;

/// One stage over all blocks. What a method begins, advances and ends is a share of its block.
pub(super) struct BlockProgress<'a> {
    whole: &'a mut dyn Progress,
    blocks: usize,
    /// Blocks that are done.
    done: usize,
    /// What the method counts, how far it is, and of how many.
    what: String,
    units: u64,
    total: u64,
    /// What the method said last.
    note: String,
    /// Units of [`BLOCK`] that were told of.
    told: u64,
}

impl<'a> BlockProgress<'a> {
    /// Begins the stage.
    pub(super) fn begin(whole: &'a mut dyn Progress, blocks: usize) -> Self {
        whole.begin("quantizing", BLOCK * blocks as u64);
        let (what, note) = (String::new(), String::new());
        Self { whole, blocks, done: 0, what, units: 0, total: 0, note, told: 0 }
    }

    /// The next block is done.
    pub(super) fn block(&mut self, note: &str) {
        let block = self.name();
        self.whole.advance(BLOCK - self.told, &format!("{block}, {note}"));
        self.done += 1;
        (self.told, self.total) = (0, 0);
        self.note.clear();
    }

    /// All blocks are done.
    pub(super) fn finish(self) {
        self.whole.end();
    }

    fn name(&self) -> String {
        format!("block {} of {}", self.done + 1, self.blocks)
    }

    fn tell(&mut self) {
        // The last share is for what follows the method's own work.
        let told = (BLOCK - 1) * self.units.min(self.total) / self.total.max(1);
        let mut text = format!("{}, {} {} of {}", self.name(), self.what, self.units, self.total);
        if !self.note.is_empty() {
            text = format!("{text}, {}", self.note);
        }
        self.whole.advance(told.saturating_sub(self.told), &text);
        self.told = self.told.max(told);
    }
}

impl Progress for BlockProgress<'_> {
    fn begin(&mut self, what: &str, total: u64) {
        (self.what, self.units, self.total) = (what.to_owned(), 0, total);
        self.tell();
    }

    fn advance(&mut self, units: u64, note: &str) {
        self.units += units;
        if !note.is_empty() {
            note.clone_into(&mut self.note);
        }
        self.tell();
    }

    fn end(&mut self) {}

    fn cancelled(&self) -> bool {
        self.whole.cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard {
        stages: Vec<(String, u64)>,
        units: u64,
        notes: Vec<String>,
        ended: bool,
    }

    impl Progress for Heard {
        fn begin(&mut self, what: &str, total: u64) {
            self.stages.push((what.to_owned(), total));
        }

        fn advance(&mut self, units: u64, note: &str) {
            self.units += units;
            self.notes.push(note.to_owned());
        }

        fn end(&mut self) {
            self.ended = true;
        }
    }

    #[test]
    fn blocks_are_one_stage() {
        let mut heard = Heard::default();
        let mut progress = BlockProgress::begin(&mut heard, 3);
        for iterations in [4, 7] {
            progress.begin("iteration", iterations);
            (0..iterations).for_each(|i| progress.advance(1, if i == 1 { "loss 0.5" } else { "" }));
            progress.end();
            progress.block("done");
        }
        // A method that tells nothing.
        progress.block("done");
        progress.finish();
        assert_eq!(heard.stages, [("quantizing".to_owned(), 3 * BLOCK)]);
        assert_eq!((heard.units, heard.ended), (3 * BLOCK, true));
        assert_eq!(heard.notes[3], "block 1 of 3, iteration 3 of 4, loss 0.5");
        assert_eq!(heard.notes[6], "block 2 of 3, iteration 0 of 7");
    }
}
