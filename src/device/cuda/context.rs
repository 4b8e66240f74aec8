//! A device that is open: its context, one stream on which everything runs in order, memory, modules and events.
//!
//! Handles never leave the types here, so each is used only while it is valid, from any thread: every call first makes
//! the context current on its thread. What a kernel may do to the device's memory is the contract's affair.
#![allow(unsafe_code, reason = "calls of the driver's C functions")]

mod cublaslt;
mod graph;

use std::ffi::{CString, c_int, c_void};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::{Arc, OnceLock};

use cudarc::driver::sys::{
    CUcontext, CUdevice, CUdeviceptr, CUevent, CUfunction, CUfunction_attribute, CUjit_option, CUmodule, CUstream,
    CUstream_flags,
};

use super::driver::{Code, Driver, Facts, Functions};
use super::failure;
use super::launch::Launch;
use super::ptx::Entry;
use crate::error::{Error, Result};
pub(super) use cublaslt::{CublasLt, Layout, Plan, Shape};
pub(super) use graph::Graph;

/// An open device.
#[derive(Debug)]
pub(super) struct Context {
    driver: Driver,
    name: String,
    device: CUdevice,
    context: CUcontext,
    stream: CUstream,
    /// Why the device is gone.
    lost: OnceLock<String>,
}

// SAFETY: handles are no memory of ours; the driver takes them from any thread on which the context is current.
unsafe impl Send for Context {}
unsafe impl Sync for Context {}

impl Context {
    /// Opens the device of this index of a library, or of the system's driver.
    pub(super) fn open(library: Option<&Path>, index: usize) -> Result<(Self, Facts)> {
        let driver = Driver::load(library).map_err(|why| Error::config("device", format!("no CUDA here: {why}")))?;
        let wanted = c_int::try_from(index).ok().filter(|i| *i < driver.devices).ok_or_else(|| {
            let found = driver.devices;
            Error::config(
                "device",
                format!("cuda:{index} is not there; {found} device(s) found, see `bitsmith devices`"),
            )
        })?;
        let facts = driver.facts(wanted).map_err(|code| {
            failure::error(&format!("cuda:{index}"), &driver.functions, "cuDeviceGetAttribute", code)
        })?;
        let name = facts.name.clone();
        let (context, stream) = (null_mut(), null_mut());
        let mut open = Self { driver, name, device: facts.device, context, stream, lost: OnceLock::new() };
        let (mut context, mut stream) = (null_mut(), null_mut());
        // SAFETY: the pointers are valid while the calls last.
        unsafe {
            let code = (open.functions().cuDevicePrimaryCtxRetain)(&raw mut context, facts.device);
            open.check("cuDevicePrimaryCtxRetain", code)?;
            open.context = context;
            let flags = CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
            open.call("cuStreamCreate", |f| (f.cuStreamCreate)(&raw mut stream, flags))?;
        }
        open.stream = stream;
        Ok((open, facts))
    }

    fn functions(&self) -> &Functions {
        &self.driver.functions
    }

    /// Calls the driver with the context current; a code other than 0 is an error, and one that ends the context is
    /// remembered.
    fn call(&self, name: &str, call: impl FnOnce(&Functions) -> c_int) -> Result<()> {
        self.make_current()?;
        self.check(name, call(self.functions()))
    }

    fn make_current(&self) -> Result<()> {
        self.alive()?;
        // SAFETY: the context is valid until `drop`.
        let code = unsafe { (self.functions().cuCtxSetCurrent)(self.context) };
        self.check("cuCtxSetCurrent", code)
    }

    fn check(&self, name: &str, code: c_int) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        let code = Code(code);
        if failure::is_loss(code) {
            let why = format!("{name}: {}; start the program again", self.functions().describe(code));
            let _ = self.lost.set(why);
            self.alive()?;
        }
        Err(failure::error(&self.name, self.functions(), name, code))
    }

    /// An error once the device is gone.
    fn alive(&self) -> Result<()> {
        match self.lost.get() {
            Some(why) => Err(Error::Device { device: self.name.clone(), detail: format!("device lost: {why}") }),
            None => Ok(()),
        }
    }

    /// Waits for everything that was given to the stream.
    pub(super) fn synchronize(&self) -> Result<()> {
        // SAFETY: the stream is valid until `drop`.
        self.call("cuStreamSynchronize", |f| unsafe { (f.cuStreamSynchronize)(self.stream) })
    }

    /// Memory with arbitrary contents.
    pub(super) fn alloc(self: &Arc<Self>, bytes: u64) -> Result<CudaMemory> {
        let mut address = 0;
        let size = usize::try_from(bytes).unwrap_or(usize::MAX);
        // SAFETY: the pointer is valid while the call lasts.
        self.call("cuMemAlloc", |f| unsafe { (f.cuMemAlloc_v2)(&raw mut address, size) })?;
        Ok(CudaMemory { context: self.clone(), address, bytes: size })
    }

    /// Puts `bytes` at `offset`, once everything before is done. They may be changed once this returns.
    pub(super) fn write(&self, memory: &CudaMemory, offset: usize, bytes: &[u8]) -> Result<()> {
        let to = memory.range(offset, bytes.len());
        // SAFETY: both ranges are valid until `synchronize` below has returned, the device's by `range`.
        let copied = self.call("cuMemcpyHtoDAsync", |f| unsafe {
            (f.cuMemcpyHtoDAsync_v2)(to, bytes.as_ptr().cast(), bytes.len(), self.stream)
        });
        // Not every driver copies the host's memory before it returns. Even after an error it may still read.
        self.synchronize()?;
        copied
    }

    /// The bytes of ranges (memory, offset, length), once everything before is done.
    pub(super) fn read(&self, ranges: &[(&CudaMemory, usize, usize)]) -> Result<Vec<Vec<u8>>> {
        let mut all: Vec<Vec<u8>> = ranges.iter().map(|(_, _, length)| vec![0; *length]).collect();
        let copies = ranges.iter().zip(&mut all).try_for_each(|((memory, offset, length), bytes)| {
            let from = memory.range(*offset, *length);
            // SAFETY: both ranges are valid until `synchronize` below has returned.
            self.call("cuMemcpyDtoHAsync", |f| unsafe {
                (f.cuMemcpyDtoHAsync_v2)(bytes.as_mut_ptr().cast(), from, *length, self.stream)
            })
        });
        // Before the host's memory goes, even after an error.
        self.synchronize()?;
        copies.map(|()| all)
    }

    /// Appends a copy of `bytes` from one memory and offset to another.
    pub(super) fn copy(&self, from: (&CudaMemory, usize), to: (&CudaMemory, usize), bytes: usize) -> Result<()> {
        let (from, to) = (from.0.range(from.1, bytes), to.0.range(to.1, bytes));
        // SAFETY: both ranges are valid.
        self.call("cuMemcpyDtoDAsync", |f| unsafe { (f.cuMemcpyDtoDAsync_v2)(to, from, bytes, self.stream) })
    }

    /// Has the driver make a module of PTX.
    pub(super) fn module(self: &Arc<Self>, name: &str, ptx: &str) -> Result<Module> {
        let ptx = CString::new(ptx).map_err(|_| self.refused(name, "its PTX holds a zero byte"))?;
        let mut log = [0u8; 4096];
        let (mut module, mut size) = (null_mut(), log.len());
        let mut options =
            [CUjit_option::CU_JIT_ERROR_LOG_BUFFER as c_int, CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES as c_int];
        // The size goes in the place of a pointer.
        let mut values = [log.as_mut_ptr().cast::<c_void>(), std::ptr::without_provenance_mut(size)];
        // SAFETY: the text ends with a zero, the log has the size that is given, and all live while the call lasts.
        let loaded = self.call("cuModuleLoadDataEx", |f| unsafe {
            (f.cuModuleLoadDataEx)(&raw mut module, ptx.as_ptr().cast(), 2, options.as_mut_ptr(), values.as_mut_ptr())
        });
        size = log.iter().position(|byte| *byte == 0).unwrap_or(size);
        match loaded {
            Ok(()) => Ok(Module { context: self.clone(), module }),
            Err(Error::Device { device, detail }) => {
                let log = String::from_utf8_lossy(&log[..size]);
                let log = log.lines().next().map(|line| format!(": {line}")).unwrap_or_default();
                Err(Error::Device { device, detail: format!("kernel {name}: {detail}{log}") })
            }
            Err(other) => Err(other),
        }
    }

    /// The error for a kernel that cannot be used as it is.
    pub(super) fn refused(&self, kernel: &str, why: &str) -> Error {
        let detail = format!("kernel {kernel} cannot be launched: {why}; use --device wgpu or cpu");
        Error::Device { device: self.name.clone(), detail }
    }

    /// Appends a launch.
    pub(super) fn launch(&self, launch: &Launch) -> Result<()> {
        let mut arguments = self.arguments(launch)?;
        let ([x, y, z], block, shared) = (launch.grid, launch.block, launch.shared);
        let function = launch.function.function;
        // SAFETY: the function belongs to a module that lives; it takes as many arguments of these sizes, which the driver
        // copies before it returns.
        self.call("cuLaunchKernel", |f| unsafe {
            (f.cuLaunchKernel)(function, x, y, z, block, 1, 1, shared, self.stream, arguments.as_mut_ptr(), null_mut())
        })
    }

    /// Where each argument of a launch lies: those that its entry takes. The driver reads them and writes none.
    fn arguments(&self, launch: &Launch) -> Result<Vec<*mut c_void>> {
        let Launch { function, pointers, params, variant, .. } = launch;
        let sizes = std::iter::repeat_n(8, pointers.len()).chain([4 * params.len(), 4 * variant.len()]);
        if !sizes.eq(function.entry.params.iter().copied()) {
            return Err(self.refused(&function.entry.name, "it takes other parameters"));
        }
        let pointers = pointers.iter().map(|pointer| std::ptr::from_ref(pointer).cast::<c_void>());
        let all = pointers.chain([params.as_ptr().cast(), variant.as_ptr().cast()]);
        Ok(all.map(<*const c_void>::cast_mut).collect())
    }

    /// A point in the stream that is to be timed.
    pub(super) fn event(self: &Arc<Self>) -> Result<Event> {
        let mut event = null_mut();
        // SAFETY: the pointer is valid while the call lasts.
        self.call("cuEventCreate", |f| unsafe { (f.cuEventCreate)(&raw mut event, 0) })?;
        Ok(Event { context: self.clone(), event })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.context.is_null() {
            return;
        }
        // SAFETY: stream and context are ours, and nothing uses them any more. What fails now concerns nobody.
        unsafe {
            let f = self.functions();
            if !self.stream.is_null() && (f.cuCtxSetCurrent)(self.context) == 0 {
                (f.cuStreamSynchronize)(self.stream);
                (f.cuStreamDestroy_v2)(self.stream);
            }
            (f.cuDevicePrimaryCtxRelease_v2)(self.device);
        }
    }
}

/// Memory on a CUDA device.
#[derive(Debug)]
pub struct CudaMemory {
    context: Arc<Context>,
    address: CUdeviceptr,
    bytes: usize,
}

impl CudaMemory {
    /// The address of `length` bytes at `offset`.
    ///
    /// # Panics
    /// If they are not inside; buffers and slices are checked when they are made.
    pub(super) fn range(&self, offset: usize, length: usize) -> CUdeviceptr {
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.bytes);
        assert!(inside, "a buffer lies inside its memory");
        self.address + offset as u64
    }
}

impl Drop for CudaMemory {
    fn drop(&mut self) {
        // Steps may still be at work on it. After a loss there is nothing to free.
        if self.context.synchronize().is_ok() {
            // SAFETY: allocated by us, and nothing uses it any more.
            let _ = self.context.call("cuMemFree", |f| unsafe { (f.cuMemFree_v2)(self.address) });
        }
    }
}

/// Loaded PTX.
#[derive(Debug)]
pub(super) struct Module {
    context: Arc<Context>,
    module: CUmodule,
}

// SAFETY: as for the context.
unsafe impl Send for Module {}
unsafe impl Sync for Module {}

/// An entry of a loaded module.
#[derive(Debug)]
pub(super) struct Function {
    function: CUfunction,
    pub(super) entry: Entry,
    _module: Arc<Module>,
}

// SAFETY: as for the context.
unsafe impl Send for Function {}
unsafe impl Sync for Function {}

/// What a block has of shared memory without asking.
const USUAL_SHARED: u32 = 48 << 10;

impl Module {
    /// One of its entries; launches may take so much shared memory of their own.
    pub(super) fn function(self: &Arc<Self>, entry: &Entry, shared: u32) -> Result<Function> {
        let context = &self.context;
        let name = CString::new(&*entry.name).map_err(|_| context.refused("entry", "its name holds a zero byte"))?;
        let mut function = null_mut();
        // SAFETY: the module is loaded, name and pointer are valid while the call lasts.
        context.call("cuModuleGetFunction", |f| unsafe {
            (f.cuModuleGetFunction)(&raw mut function, self.module, name.as_ptr())
        })?;
        if shared > USUAL_SHARED {
            let most = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as c_int;
            let shared = c_int::try_from(shared).unwrap_or(c_int::MAX);
            // SAFETY: the function was just found.
            context.call("cuFuncSetAttribute", |f| unsafe { (f.cuFuncSetAttribute)(function, most, shared) })?;
        }
        Ok(Function { function, entry: entry.clone(), _module: self.clone() })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if self.context.synchronize().is_ok() {
            // SAFETY: loaded by us, and nothing runs in it any more.
            let _ = self.context.call("cuModuleUnload", |f| unsafe { (f.cuModuleUnload)(self.module) });
        }
    }
}

/// A point in the stream.
#[derive(Debug)]
pub(super) struct Event {
    context: Arc<Context>,
    event: CUevent,
}

impl Event {
    /// Appends it to the stream.
    pub(super) fn record(&self) -> Result<()> {
        let context = &self.context;
        // SAFETY: event and stream are valid.
        context.call("cuEventRecord", |f| unsafe { (f.cuEventRecord)(self.event, context.stream) })
    }

    /// Seconds until a later event, once both are past.
    pub(super) fn seconds_until(&self, end: &Self) -> Result<f64> {
        let mut milliseconds = 0.0;
        // SAFETY: both events are valid, the pointer too while the call lasts.
        self.context.call("cuEventElapsedTime", |f| unsafe {
            (f.cuEventElapsedTime)(&raw mut milliseconds, self.event, end.event)
        })?;
        Ok(f64::from(milliseconds) * 1e-3)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: created by us; the driver itself waits until it is past.
        let _ = self.context.call("cuEventDestroy", |f| unsafe { (f.cuEventDestroy_v2)(self.event) });
    }
}
