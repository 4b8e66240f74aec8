//! What flows between two blocks, sequence by sequence.

use crate::device::Recorder;
use crate::error::{Error, Result};
use crate::op::{self, Activations, RowCache};

/// Activations of calibration sequences, each `[seq_len, hidden_size]`, all of one shape.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    held: Vec<Activations>,
}

impl Samples {
    /// Adds the activations of the next sequence.
    ///
    /// # Errors
    /// [`Error::Shape`] if those before it have another shape.
    pub fn push(&mut self, x: Activations) -> Result<()> {
        if let Some(first) = self.held.first().filter(|first| (first.rows, first.cols) != (x.rows, x.cols)) {
            let (expected, found) = (format!("{} x {}", first.rows, first.cols), format!("{} x {}", x.rows, x.cols));
            return Err(Error::Shape { op: "samples", expected, found });
        }
        self.held.push(x);
        Ok(())
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there is no sequence.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Tokens of a sequence.
    pub fn tokens(&self) -> usize {
        self.held.first().map_or(0, |x| x.rows)
    }

    /// The activations of a sequence.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is none of this number.
    pub fn get(&self, index: usize) -> Result<Activations> {
        self.held.get(index).cloned().ok_or_else(|| Error::Shape {
            op: "samples",
            expected: format!("one of {} sequences", self.held.len()),
            found: index.to_string(),
        })
    }

    /// The activations of some sequences, one after the other.
    ///
    /// # Errors
    /// As [`Self::get`], for no sequence at all, and those of the device.
    pub fn gather(&self, rec: &mut Recorder, chosen: &[usize]) -> Result<Activations> {
        let Activations { rows, cols, .. } = self.get(chosen.first().copied().unwrap_or(usize::MAX))?;
        let all = rows * chosen.len();
        let to = RowCache { buffer: rec.alloc(all * cols * 4)?, sequences: 1, capacity: all, cols };
        for (slot, index) in chosen.iter().enumerate() {
            op::store_rows(rec, &self.get(*index)?, &to, slot * rows)?;
        }
        Ok(Activations { buffer: to.buffer, rows: all, cols })
    }
}
