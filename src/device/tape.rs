//! What recorded operations leave behind so that gradients can be recorded after them: a tape that is played backwards.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;

use super::buffer::{Buffer, BufferId};
use super::recording::Recorder;
use crate::error::Result;

/// A recorded operation, as the way back sees it. It holds the buffers that its gradients are computed from; of others
/// the id, so that their memory can be used again.
pub trait Adjoint: Debug {
    /// Records what turns the gradients of the operation's results into those of its inputs, and adds these.
    ///
    /// # Errors
    /// Those of recording.
    fn record(&self, rec: &mut Recorder, gradients: &mut Gradients) -> Result<()>;
}

/// Operations in the order they were recorded, and the buffers that gradients are asked for.
#[derive(Debug, Default)]
pub(super) struct Tape {
    nodes: Vec<Box<dyn Adjoint>>,
    watched: HashSet<BufferId>,
}

/// Records the sum of two gradients of one size into a new buffer.
pub type Sum = fn(&mut Recorder, &Buffer, &Buffer) -> Result<Buffer>;

/// Gradients of what was watched, by buffer. A gradient may be shared between buffers, so none is ever written to once it
/// has been added.
#[derive(Debug)]
pub struct Gradients {
    found: HashMap<BufferId, Buffer>,
    watched: HashSet<BufferId>,
    sum: Sum,
}

impl Gradients {
    /// Whether a buffer's gradient is asked for: it is watched, or was computed from something that is.
    pub fn wants(&self, buffer: impl Into<BufferId>) -> bool {
        self.watched.contains(&buffer.into())
    }

    /// The gradient of a buffer, as far as it has been found.
    pub fn of(&self, buffer: impl Into<BufferId>) -> Option<&Buffer> {
        self.found.get(&buffer.into())
    }

    /// Takes out the gradient of an operation's result, which nothing before the operation needs.
    pub fn take(&mut self, buffer: impl Into<BufferId>) -> Option<Buffer> {
        self.found.remove(&buffer.into())
    }

    /// Adds to the gradient of a buffer, unless nobody asked for it.
    ///
    /// # Errors
    /// Those of recording a sum.
    pub fn add(&mut self, rec: &mut Recorder, buffer: impl Into<BufferId>, gradient: Buffer) -> Result<()> {
        let id = buffer.into();
        if !self.wants(id) {
            return Ok(());
        }
        let total = match self.found.remove(&id) {
            Some(before) => (self.sum)(rec, &before, &gradient)?,
            None => gradient,
        };
        self.found.insert(id, total);
        Ok(())
    }
}

impl Recorder {
    /// Asks for the gradient of a buffer: operations recorded from now on that depend on it keep what it takes.
    pub fn watch(&mut self, buffer: &Buffer) {
        self.tape.watched.insert(buffer.id());
    }

    /// Whether a buffer is watched, or was computed from one that is.
    pub fn watches(&self, buffer: &Buffer) -> bool {
        self.tape.watched.contains(&buffer.id())
    }

    /// Called by an operation after it was recorded. If one of its inputs is watched, so are its outputs, and the
    /// adjoint is kept. An operation that changes a buffer in place has it among both.
    pub fn keep<A: Adjoint + 'static>(&mut self, inputs: &[&Buffer], outputs: &[&Buffer], adjoint: impl FnOnce() -> A) {
        if inputs.iter().any(|b| self.watches(b)) {
            outputs.iter().for_each(|b| self.watch(b));
            self.tape.nodes.push(Box::new(adjoint()));
        }
    }

    /// Records with a tape of its own, on which nothing is watched at first. What `record` leaves on it is dropped; this
    /// recorder's tape is as before.
    ///
    /// # Errors
    /// Those of `record`.
    pub fn apart<T>(&mut self, record: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let tape = std::mem::take(&mut self.tape);
        let done = record(self);
        self.tape = tape;
        done
    }

    /// Plays the tape backwards from the gradients of some results. The tape is empty after that.
    ///
    /// # Errors
    /// Those of recording.
    pub fn rewind(&mut self, results: Vec<(Buffer, Buffer)>, sum: Sum) -> Result<Gradients> {
        // Taken out, so that what is recorded on the way back is not kept again.
        let Tape { mut nodes, watched } = std::mem::take(&mut self.tape);
        let found = results.into_iter().map(|(result, gradient)| (result.id(), gradient)).collect();
        let mut gradients = Gradients { found, watched, sum };
        // Each node is dropped as soon as it is done, and with it the memory it held.
        while let Some(node) = nodes.pop() {
            node.record(self, &mut gradients)?;
        }
        Ok(gradients)
    }
}
