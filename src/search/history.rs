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
    /// The codes that the store has, once all steps so far are in it.
    stored: State,
}

impl History {
    /// Of what a store holds.
    pub(super) fn new(store: AcceptedStore) -> Self {
        Self { store, next: 0, stored: State::new() }
    }

    /// Saves steps. If any of them was not rolled back, the codes of `state` are accepted: with the first of these come all
    /// that the store does not have, among them those of steps that a plan which was refused as a whole had brought.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub(super) fn save(&mut self, trials: &Trials, steps: Vec<SearchStep>, state: &State) -> Result<()> {
        for step in steps {
            self.next += 1;
            let known = self.next <= self.store.steps().len();
            if step.rolled_back.is_some() {
                if !known {
                    self.store.reject(step)?;
                }
                continue;
            }
            let changed: State = state
                .iter()
                .filter(|(path, made)| self.stored.get(*path) != Some(*made))
                .map(|(path, made)| (path.clone(), made.clone()))
                .collect();
            if !known {
                let layers = trials.layers(changed.iter()).collect::<Result<Vec<_>>>()?;
                self.store.accept(step, &layers)?;
            }
            self.stored.extend(changed);
        }
        Ok(())
    }

    /// The store.
    pub(super) fn store(self) -> AcceptedStore {
        self.store
    }
}
