//! Which work is started by one call: recordings whose functions come again in the same order, as those of one token after
//! another do.
//!
//! A graph costs more than the launches that it is made of, so it is made when work comes a second time. It is never more
//! than a shortcut: where the driver has no graphs or errs, steps are launched one by one.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use super::context::{Context, Function, Graph};
use super::launch::Launch;
use crate::error::Result;

/// Launches that are worth a graph. Longer work keeps the card busy for longer than it takes to launch it.
const WORTH: RangeInclusive<usize> = 4..=4096;

/// How many kinds of work are remembered.
const KEPT: usize = 8;

/// The graphs of one device.
#[derive(Debug)]
pub(super) struct Graphs(Mutex<Known>);

#[derive(Debug)]
enum Known {
    /// What was last used stands last.
    Kinds(Vec<Kind>),
    /// An error came; there is no other try.
    Off,
}

/// Work of the same functions in the same order.
#[derive(Debug)]
struct Kind {
    functions: Vec<Arc<Function>>,
    /// From the second time on.
    graph: Option<Graph>,
}

impl Kind {
    fn is(&self, launches: &[Launch]) -> bool {
        self.functions.len() == launches.len()
            && self.functions.iter().zip(launches).all(|(known, launch)| Arc::ptr_eq(known, &launch.function))
    }
}

impl Graphs {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Known::Kinds(Vec::new())))
    }

    /// Whether work of so many launches may be worth a graph.
    pub(super) fn take(&self, launches: usize) -> bool {
        WORTH.contains(&launches)
    }

    /// Appends launches if they are known from before, and tells whether it did.
    pub(super) fn launch(&self, context: &Arc<Context>, launches: &[Launch]) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Known::Kinds(kinds) = &mut *known else { return false };
        match launch(kinds, context, launches) {
            Ok(launched) => launched,
            Err(error) => {
                tracing::debug!(%error, "no graphs from here on; work is launched step by step");
                *known = Known::Off;
                false
            }
        }
    }
}

fn launch(kinds: &mut Vec<Kind>, context: &Arc<Context>, launches: &[Launch]) -> Result<bool> {
    let Some(at) = kinds.iter().position(|kind| kind.is(launches)) else {
        if kinds.len() == KEPT {
            kinds.remove(0);
        }
        let functions = launches.iter().map(|launch| launch.function.clone()).collect();
        kinds.push(Kind { functions, graph: None });
        return Ok(false);
    };
    kinds[at..].rotate_left(1);
    let kind = kinds.last_mut().expect("one was found");
    if kind.graph.is_none() {
        kind.graph = Graph::new(context, launches)?;
    }
    let Some(graph) = &mut kind.graph else { return Ok(false) };
    graph.launch(launches)?;
    Ok(true)
}
