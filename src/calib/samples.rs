//! What flows between two blocks, sequence by sequence.

use std::rc::Rc;

use super::store::{Store, Stored};
use crate::device::{Buffer, Recorder};
use crate::error::{Error, Result};
use crate::op::{self, Activations, RowCache};

/// Activations of calibration sequences, each `[seq_len, hidden_size]`, all of one shape: on the device, or in memory up
/// to a bound and beyond it in a temporary file.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    store: Option<Rc<Store>>,
    held: Vec<Held>,
    /// Of each sequence.
    rows: usize,
    cols: usize,
}

#[derive(Clone, Debug)]
enum Held {
    Device(Buffer),
    Stored(Rc<Stored>),
}

impl Samples {
    /// None yet; what comes is held in the store, if there is one.
    pub(super) fn within(store: Option<Rc<Store>>) -> Self {
        Self { store, ..Self::default() }
    }

    /// Adds the activations of the next sequence.
    ///
    /// # Errors
    /// [`Error::Shape`] if those before it have another shape, and those of the device and of the temporary file.
    pub async fn push(&mut self, x: Activations) -> Result<()> {
        if !self.is_empty() && (self.rows, self.cols) != (x.rows, x.cols) {
            let (expected, found) = (format!("{} x {}", self.rows, self.cols), format!("{} x {}", x.rows, x.cols));
            return Err(Error::Shape { op: "samples", expected, found });
        }
        (self.rows, self.cols) = (x.rows, x.cols);
        self.held.push(match &self.store {
            None => Held::Device(x.buffer),
            Some(store) => Held::Stored(Rc::new(store.take(x).await?)),
        });
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
        self.rows
    }

    /// The activations of a sequence.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is none of this number; those of the device; [`Error::Io`] if the temporary file does
    /// not hold what was written.
    pub fn get(&self, index: usize) -> Result<Activations> {
        let held = self.held.get(index).ok_or_else(|| Error::Shape {
            op: "samples",
            expected: format!("one of {} sequences", self.held.len()),
            found: index.to_string(),
        })?;
        held.get(index, self.rows, self.cols)
    }

    /// The activations of all sequences in turn; what was given out is not held any more.
    pub(super) fn drain(self) -> impl Iterator<Item = Result<Activations>> {
        let Self { held, rows, cols, .. } = self;
        held.into_iter().enumerate().map(move |(index, held)| held.get(index, rows, cols))
    }

    /// The activations of some sequences, one after the other.
    ///
    /// # Errors
    /// As [`Self::get`], for no sequence at all, and those of the device.
    pub fn gather(&self, rec: &mut Recorder, chosen: &[usize]) -> Result<Activations> {
        let chosen: Vec<Activations> = chosen.iter().map(|index| self.get(*index)).collect::<Result<_>>()?;
        stacked(rec, &chosen)
    }
}

/// The rows of some sequences of one shape, one after the other.
///
/// # Errors
/// [`Error::Shape`] for no sequence at all, and those of the device.
pub(crate) fn stacked(rec: &mut Recorder, chosen: &[Activations]) -> Result<Activations> {
    let Some(Activations { rows, cols, .. }) = chosen.first() else {
        return Err(Error::Shape { op: "samples", expected: "at least one sequence".into(), found: "none".into() });
    };
    let (all, cols) = (rows * chosen.len(), *cols);
    let to = RowCache { buffer: rec.alloc(all * cols * 4)?, sequences: 1, capacity: all, cols };
    for (slot, x) in chosen.iter().enumerate() {
        op::store_rows(rec, x, &to, slot * rows)?;
    }
    Ok(Activations { buffer: to.buffer, rows: all, cols })
}

impl Held {
    fn get(&self, index: usize, rows: usize, cols: usize) -> Result<Activations> {
        let buffer = match self {
            Self::Device(buffer) => buffer.clone(),
            Self::Stored(stored) => stored.get(|| format!("sequence {index} of the activations between two blocks"))?,
        };
        Ok(Activations { buffer, rows, cols })
    }
}
