//! Kernels as the device takes them, loaded when first used and kept.

use std::collections::{HashMap, hash_map};
use std::sync::{Arc, Mutex, PoisonError};

use super::context::{self, Context, Function};
use super::ptx::{Entry, entries};
use crate::dispatch::KernelSpec;
use crate::error::Result;

/// Which PTX of a kernel an entry is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Module {
    /// That for all cards.
    Usual,
    /// That for compute capability 9.x alone.
    Hopper,
}

/// The kernels of one device.
#[derive(Debug, Default)]
pub(super) struct Functions(Mutex<Loaded>);

/// A loaded module and what it says of its entries.
type Described = (Arc<context::Module>, Vec<Entry>);

#[derive(Debug, Default)]
struct Loaded {
    modules: HashMap<(&'static str, Module), Described>,
    /// By kernel, module, entry and shared memory, which is set for the function.
    functions: HashMap<(&'static str, Module, &'static str, u32), Arc<Function>>,
}

impl Functions {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).functions.len()
    }

    /// An entry of a kernel. One that cannot be loaded is not kept.
    pub(super) fn get(
        &self,
        context: &Arc<Context>,
        spec: &'static KernelSpec,
        module: Module,
        entry: &'static str,
        shared: u32,
    ) -> Result<Arc<Function>> {
        let key = (spec.name, module, entry, shared);
        let loaded = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = loaded.functions.get(&key) {
            return Ok(function.clone());
        }
        let (module, entries) = match loaded.modules.entry((spec.name, module)) {
            hash_map::Entry::Occupied(found) => found.into_mut(),
            hash_map::Entry::Vacant(place) => {
                let ptx = match module {
                    Module::Usual => spec.ptx,
                    Module::Hopper => spec.ptx_hopper,
                };
                let ptx = ptx.ok_or_else(|| context.refused(spec.name, "it has no PTX"))?;
                place.insert((context.module(spec.name, ptx)?.into(), entries(ptx)))
            }
        };
        let described = entries.iter().find(|found| found.name == entry);
        let described = described.ok_or_else(|| context.refused(spec.name, "its PTX lacks the entry"))?;
        let function = Arc::new(module.function(described, shared)?);
        loaded.functions.insert(key, function.clone());
        Ok(function)
    }
}
