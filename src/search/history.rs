//! The steps of a search, saved as they are decided.

use super::AcceptedStore;
use super::facts::State;
use super::trials::Trials;
use crate::error::Result;
use crate::export::SearchStep;

/// The durable record of steps. A search that is gone on with decides the same again; what is recorded already is not
/// recorded twice.
pub(super) struct History {
    store: AcceptedStore,
    next: usize,
}

impl History {
    /// Of what a store holds.
    pub(super) fn new(store: AcceptedStore) -> Self {
        Self { store, next: 0 }
    }

    /// Saves steps: those without a reason against them with the codes that they brought.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub(super) fn save(&mut self, trials: &Trials, steps: Vec<SearchStep>, state: &State) -> Result<()> {
        for step in steps {
            self.next += 1;
            if self.next <= self.store.steps().len() {
                continue;
            }
            if step.rolled_back.is_some() {
                self.store.reject(step)?;
                continue;
            }
            let changed = state.iter().filter(|(path, _)| step.layers.contains(path));
            let layers = trials.layers(changed).collect::<Result<Vec<_>>>()?;
            self.store.accept(step, &layers)?;
        }
        Ok(())
    }

    /// The store.
    pub(super) fn store(self) -> AcceptedStore {
        self.store
    }
}
