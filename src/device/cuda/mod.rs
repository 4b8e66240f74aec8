//! NVIDIA cards through their driver. Nothing of CUDA is needed to build, and nothing but the driver to run: kernels are
//! PTX, which the driver compiles for its card.

mod context;
mod driver;
mod failure;
mod functions;
mod graphs;
mod launch;
mod products;
mod profile;
mod ptx;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use cudarc::driver::sys::CUdeviceptr;

use super::buffer::{Buffer, Raw};
use super::caps::{Caps, DeviceKind};
use super::pool::Pool;
use super::recording::{Recording, Step};
use crate::dispatch::{CudaLaunch, Product, Variant};
use crate::error::{Error, Result};
use context::Context;
pub use context::CudaMemory;
pub use driver::DRIVER_VARIABLE;
use driver::{Driver, Facts};
use functions::{Functions, Module};
use graphs::Graphs;
use launch::Launch;
pub use products::CUBLASLT_VARIABLE;
use products::Products;
pub use ptx::{Entry, entries};

/// The first compute capability that runs our PTX.
const OLDEST: (i32, i32) = (8, 0);

/// An NVIDIA card, opened here.
///
/// The card's primary context is used, which other code in the process shares; calls make it current on their thread.
/// Everything runs on one stream of its own.
#[derive(Debug)]
pub struct CudaDevice {
    context: Arc<Context>,
    caps: Caps,
    pool: Pool,
    functions: Functions,
    graphs: Graphs,
    products: Products,
    submissions: AtomicU64,
}

impl CudaDevice {
    /// The cards of this machine, those that are too old too.
    ///
    /// # Errors
    /// [`Error::Config`] with the reason why there is no CUDA here: no driver, one that is too old or broken, no card.
    pub fn list() -> Result<Vec<Caps>> {
        Self::list_of(None)
    }

    /// [`Self::list`] of the driver in a library that is named, instead of the system's or that of the environment
    /// variable [`DRIVER_VARIABLE`].
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn list_from(library: &Path) -> Result<Vec<Caps>> {
        Self::list_of(Some(library))
    }

    fn list_of(library: Option<&Path>) -> Result<Vec<Caps>> {
        let facts = Driver::load(library).and_then(|driver| driver.all());
        let facts = facts.map_err(|why| Error::config("device", format!("no CUDA here: {why}")))?;
        Ok(facts.iter().map(caps).collect())
    }

    /// Opens the card of this index in [`Self::list`].
    ///
    /// # Errors
    /// [`Error::Config`] without CUDA or without such a card, [`Error::Device`] for one that cannot be opened or is too
    /// old.
    pub fn open(index: usize) -> Result<Self> {
        Self::open_of(None, index)
    }

    /// [`Self::open`] with the driver in a library that is named.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_from(library: &Path, index: usize) -> Result<Self> {
        Self::open_of(Some(library), index)
    }

    fn open_of(library: Option<&Path>, index: usize) -> Result<Self> {
        let (context, facts) = Context::open(library, index)?;
        if facts.capability < OLDEST {
            let (major, minor) = facts.capability;
            let detail = format!("compute capability {major}.{minor}; 8.0 is needed: use --device wgpu");
            return Err(Error::Device { device: facts.name, detail });
        }
        let (caps, pool, functions) = (caps(&facts), Pool::new(), Functions::default());
        // A driver that is named may be an emulation, on whose memory the system's library must not work.
        let system = library.is_none() && std::env::var_os(DRIVER_VARIABLE).is_none();
        let (graphs, products) = (Graphs::new(), Products::new(products::candidates(system)));
        Ok(Self { context: context.into(), caps, pool, functions, graphs, products, submissions: AtomicU64::new(0) })
    }

    /// Has cuBLASLt compute all products of at least so many multiplications, not only large ones: the one in a library
    /// that is named, else the system's. What it refuses is computed by kernels.
    #[must_use]
    pub fn with_products(mut self, library: Option<&Path>, least: u64) -> Self {
        let candidates = library.map_or_else(|| products::candidates(true), |library| vec![library.to_owned()]);
        self.products = Products::of_at_least(candidates, least);
        self
    }

    /// Matrix products that cuBLASLt has computed so far.
    pub fn products(&self) -> u64 {
        self.products.computed()
    }

    /// The card without its entries for compute capability 9.x, for one on which they fail.
    #[must_use]
    pub fn without_wgmma(mut self) -> Self {
        self.caps.wgmma = false;
        self
    }

    /// Waits for everything that was submitted.
    ///
    /// # Errors
    /// [`Error::Device`] if any of it failed.
    pub fn finish(&self) -> Result<()> {
        self.context.synchronize()
    }

    /// Appends a copy of one buffer to another, as many bytes as both have, to what was submitted.
    ///
    /// # Errors
    /// [`Error::Device`] for a buffer of another device, or if the driver refuses.
    pub fn copy(&self, from: &Buffer, to: &Buffer) -> Result<()> {
        [from, to].into_iter().try_for_each(|b| self.pool.check_own(&b.lease.pool, &self.caps.name))?;
        let bytes = from.bytes().min(to.bytes());
        self.context.copy((from.raw().cuda()?, from.offset), (to.raw().cuda()?, to.offset), bytes)
    }

    pub(super) fn caps(&self) -> &Caps {
        &self.caps
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Recordings and reads so far.
    pub(super) fn submissions(&self) -> u64 {
        self.submissions.load(Relaxed)
    }

    /// Kernel entries loaded so far: each once, when it is first used.
    pub(super) fn pipelines(&self) -> usize {
        self.functions.len()
    }

    pub(super) fn create(&self, bytes: u64) -> Result<CudaMemory> {
        self.context.alloc(bytes)
    }

    /// Padded with zeros to whole words.
    pub(super) fn write(&self, memory: &CudaMemory, bytes: &[u8]) -> Result<()> {
        let (whole, rest) = bytes.split_at(bytes.len() / 4 * 4);
        if !whole.is_empty() {
            self.context.write(memory, 0, whole)?;
        }
        if rest.is_empty() {
            return Ok(());
        }
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        self.context.write(memory, whole.len(), &last)
    }

    pub(super) fn submit(&self, recording: &Recording) -> Result<()> {
        self.submissions.fetch_add(1, Relaxed);
        // What a library launches is not ours to put into a graph; where it does so, the work is large.
        let of_library = || recording.steps().any(|step| self.product(step).is_some());
        if !self.graphs.take(recording.len()) || of_library() {
            return recording.steps().try_for_each(|step| self.launch(step));
        }
        let launches = recording.steps().map(|step| self.prepare(step)).collect::<Result<Vec<_>>>()?;
        if self.graphs.launch(&self.context, &launches) {
            return Ok(());
        }
        launches.iter().try_for_each(|launch| self.context.launch(launch))
    }

    /// Runs a recording, if there is one, and reads buffers once all work is done.
    pub(super) fn run(&self, recording: Option<&Recording>, buffers: &[&Buffer]) -> Result<Vec<Vec<u8>>> {
        match recording {
            Some(recording) => self.submit(recording)?,
            None => drop(self.submissions.fetch_add(1, Relaxed)),
        }
        let ranges = buffers.iter().map(|b| Ok((b.raw().cuda()?, b.offset, b.bytes()))).collect::<Result<Vec<_>>>()?;
        self.context.read(&ranges)
    }

    fn launch(&self, step: Step<'_>) -> Result<()> {
        match self.product(step) {
            Some(product) if self.multiply(&product, step)? => Ok(()),
            _ => self.context.launch(&self.prepare(step)?),
        }
    }

    /// The product that a step is, if cuBLASLt may compute it.
    fn product(&self, step: Step<'_>) -> Option<Product> {
        (step.spec.product)(step.params, step.variant).filter(|product| self.products.take(product))
    }

    /// Has cuBLASLt compute a step, and tells whether it does.
    fn multiply(&self, product: &Product, step: Step<'_>) -> Result<bool> {
        let &[x, w, out] = &pointers(step)?[..] else { return Ok(false) };
        let workspace = |bytes| {
            let create = |class| self.create(class).map(|memory| Raw::Cuda(memory.into()));
            let memory = self.pool.take(bytes, None, &create)?;
            let address = memory.raw().cuda()?.range(0, bytes);
            Ok((memory, address))
        };
        Ok(self.products.run(&self.context, product, [x, w, out], workspace))
    }

    /// What a step is on this device; its kernel is loaded.
    fn prepare(&self, step: Step<'_>) -> Result<Launch> {
        let special = if self.caps.wgmma { (step.spec.cuda_hopper)(step.params, step.variant) } else { None };
        let (own, module) = match special {
            Some(_) => (special, Module::Hopper),
            None => ((step.spec.cuda)(step.params, step.variant), Module::Usual),
        };
        let (entry, shared) = own.map_or((step.spec.name, 0), |own| (own.entry, own.shared));
        let function = self.functions.get(&self.context, step.spec, module, entry, shared)?;
        let usual = || {
            let block = workgroup(step.variant).or(function.entry.threads);
            let block =
                block.ok_or_else(|| self.context.refused(step.spec.name, "nothing says how large a block is"))?;
            Ok(CudaLaunch { entry, grid: step.grid, block, shared })
        };
        let CudaLaunch { grid, block, .. } = own.map_or_else(usual, Ok)?;
        let pointers = pointers(step)?;
        let (params, variant) = (bytemuck::pod_collect_to_vec(step.params), step.variant.cuda());
        Ok(Launch { function, grid, block, shared, pointers, params, variant })
    }
}

/// Where the bindings of a step begin.
fn pointers(step: Step<'_>) -> Result<Vec<CUdeviceptr>> {
    step.buffers.iter().map(|bound| Ok(bound.raw().cuda()?.range(bound.offset, bound.bytes))).collect()
}

/// Threads that a variant says share a workgroup.
fn workgroup(variant: &Variant) -> Option<u32> {
    variant.constants().find(|(name, _)| *name == "WG").map(|(_, threads)| threads)
}

fn caps(facts: &Facts) -> Caps {
    let ((major, minor), version) = (facts.capability, facts.driver);
    let (first, second) = (version / 1000, version % 1000 / 10);
    let gib = facts.memory as f64 / f64::from(1 << 30);
    Caps {
        name: facts.name.clone(),
        backend: "cuda".into(),
        driver: format!("CUDA {first}.{second}, compute capability {major}.{minor}, {gib:.1} GiB"),
        kind: DeviceKind::Gpu,
        f16: true,
        subgroups: Some((32, 32)),
        // What later capabilities have instead is another.
        wgmma: major == 9,
        // Products on tensor cores are entries of their own here, see `Kernel::cuda`.
        cooperative_matrix: None,
        // Kernels count in 32 bits.
        max_binding_bytes: u64::from(u32::MAX / 4 * 4),
        max_buffer_bytes: facts.memory,
        max_workgroup_bytes: u32::try_from(facts.shared).unwrap_or(0),
        max_invocations: u32::try_from(facts.threads).unwrap_or(0),
    }
}
