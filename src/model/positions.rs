//! Learned positions.

use super::cache::Step;
use super::loader::Loader;
use crate::device::Recorder;
use crate::error::{Error, Result};
use crate::io::ModelConfig;
use crate::op::{self, Activations, DenseWeight};

/// A vector for each position, in a table whose first `offset` rows belong to none.
#[derive(Debug)]
pub(super) struct Positions {
    table: DenseWeight,
    offset: usize,
}

impl Positions {
    pub(super) fn load(loader: &Loader, config: &ModelConfig, name: &str, offset: usize) -> Result<Self> {
        let table = loader.matrix(name, config.max_position_embeddings + offset, config.hidden_size)?;
        Ok(Self { table, offset })
    }

    /// Adds to each row the vector of its position.
    pub(super) fn add(&self, rec: &mut Recorder, x: &Activations, step: Step) -> Result<Activations> {
        let first = self.offset + step.past;
        let row = |row| {
            let expected = "positions below 2^32".to_owned();
            u32::try_from(row).map_err(|_| Error::Shape { op: "positions", expected, found: format!("{row}") })
        };
        let rows: Vec<u32> = (first..first + step.tokens).map(row).collect::<Result<_>>()?;
        let vectors = op::embed(rec, &rows.repeat(step.sequences), &self.table)?;
        op::add(rec, x, &vectors)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.table.bytes() as u64
    }
}
