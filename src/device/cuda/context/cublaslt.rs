//! NVIDIA's library for matrix products, where it is installed.
//!
//! Its functions are looked up before any is called, and its codes are read as numbers, as those of the driver are. Matrices
//! are stored by columns there: what is a row here is a column to it. The numbers are those of `cublasLt.h`,
//! `cublas_api.h` and `library_types.h`, the same in releases 11, 12 and 13.
#![allow(unsafe_code, reason = "calls of a library's C functions, on memory of the device")]

use std::ffi::{c_int, c_uint, c_void};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::Arc;

use cudarc::driver::sys::{CUdeviceptr, CUstream};
use libloading::Library;

use super::Context;
use crate::device::cuda::driver::functions;
use crate::dtype::Dtype;

/// A handle, a description, a layout or preferences: the library says what is in them.
type Opaque = *mut c_void;

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    algorithm: [u64; 8],
    workspace: usize,
    state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

functions! {
    /// The functions, under the names that the library gives them.
    Functions {
        cublasLtCreate(*mut Opaque);
        cublasLtDestroy(Opaque);
        cublasLtMatmulDescCreate(*mut Opaque, c_uint, c_uint);
        cublasLtMatmulDescDestroy(Opaque);
        cublasLtMatmulDescSetAttribute(Opaque, c_uint, *const c_void, usize);
        cublasLtMatrixLayoutCreate(*mut Opaque, c_uint, u64, u64, i64);
        cublasLtMatrixLayoutDestroy(Opaque);
        cublasLtMatmulPreferenceCreate(*mut Opaque);
        cublasLtMatmulPreferenceDestroy(Opaque);
        cublasLtMatmulPreferenceSetAttribute(Opaque, c_uint, *const c_void, usize);
        cublasLtMatmulAlgoGetHeuristic(Opaque, Opaque, Opaque, Opaque, Opaque, Opaque, Opaque, c_int, *mut Found,
            *mut c_int);
        cublasLtMatmul(Opaque, Opaque, *const c_void, CUdeviceptr, Opaque, CUdeviceptr, Opaque, *const c_void, CUdeviceptr,
            Opaque, CUdeviceptr, Opaque, *const [u64; 8], CUdeviceptr, usize, CUstream);
    }
}

/// Sums and products of f32 in f32. Those of f16 are exact in f32. No type that is faster and less exact is asked for.
const CUBLAS_COMPUTE_32F: c_uint = 68;
const CUDA_R_32F: c_uint = 0;
const CUDA_R_16F: c_uint = 2;
/// Attributes of a description: the `cublasOperation_t` of an operand, 0 as it is, 1 transposed.
const CUBLASLT_MATMUL_DESC_TRANSA: c_uint = 3;
const CUBLASLT_MATMUL_DESC_TRANSB: c_uint = 4;
/// Preferences.
const CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: c_uint = 1;
const CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: c_uint = 3;
const CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT: [c_uint; 4] = [5, 6, 7, 8];
const CUBLASLT_MATMUL_PREF_IMPL_MASK: c_uint = 12;
/// Partial sums are f32 in memory of their own, added in one order.
const CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE: c_uint = 2;
/// How algorithms compute: sums in f16, operands taken as f16, bf16 or TF32.
const CUBLASLT_NUMERICAL_IMPL_FLAGS_ACCUMULATOR_16F: u64 = 1 << 8;
const CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_16F: u64 = 1 << 16;
const CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_16BF: u64 = 2 << 16;
const CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_TF32: u64 = 4 << 16;
/// What no algorithm may do for f16, and beyond that for f32.
const INEXACT: u64 = CUBLASLT_NUMERICAL_IMPL_FLAGS_ACCUMULATOR_16F | CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_TF32;
const NARROW: u64 = CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_16F | CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_16BF;

/// What the library recommends for cards of capability 9; the others take less.
const MOST_WORKSPACE: usize = 32 << 20;

/// An operand as it lies in memory, `rows` by `cols` by columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::device::cuda) struct Layout {
    pub(in crate::device::cuda) rows: u32,
    pub(in crate::device::cuda) cols: u32,
    /// From one column to the next.
    pub(in crate::device::cuda) column: u32,
    pub(in crate::device::cuda) transposed: bool,
}

/// All that the choice of an algorithm depends on: `c = a b`, or that added to `c`, which is f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::device::cuda) struct Shape {
    pub(in crate::device::cuda) dtype: Dtype,
    pub(in crate::device::cuda) a: Layout,
    pub(in crate::device::cuda) b: Layout,
    pub(in crate::device::cuda) c: Layout,
    /// Bytes that the addresses of a, b and c are multiples of.
    pub(in crate::device::cuda) alignment: [u32; 3],
    pub(in crate::device::cuda) accumulate: bool,
}

/// The library, opened for a context.
#[derive(Debug)]
pub(in crate::device::cuda) struct CublasLt {
    context: Arc<Context>,
    functions: Functions,
    handle: Opaque,
    /// Never unloaded, as the driver.
    _library: ManuallyDrop<Library>,
}

// SAFETY: handles are no memory of ours, and the library takes them from any thread.
unsafe impl Send for CublasLt {}

/// How products of one shape are computed.
#[derive(Debug)]
pub(in crate::device::cuda) struct Plan {
    description: Object,
    layouts: [Object; 3],
    algorithm: [u64; 8],
    accumulate: bool,
    /// Bytes of memory that it takes besides.
    pub(in crate::device::cuda) workspace: usize,
}

/// Something that the library made for us.
#[derive(Debug)]
struct Object {
    object: Opaque,
    destroy: unsafe extern "system" fn(Opaque) -> c_int,
}

// SAFETY: as for the library.
unsafe impl Send for Object {}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: made by us, and nothing uses it any more: the library has read it when a call returns.
        unsafe { (self.destroy)(self.object) };
    }
}

/// Why it is not used, for the log.
type Reason = String;

fn check(name: &str, status: c_int) -> Result<(), Reason> {
    if status == 0 { Ok(()) } else { Err(format!("{name} failed with status {status}")) }
}

impl CublasLt {
    /// The first of these libraries that works.
    pub(in crate::device::cuda) fn load(context: &Arc<Context>, candidates: &[PathBuf]) -> Result<Self, Reason> {
        let mut why = Err("no library is known for this system".to_owned());
        for candidate in candidates {
            match Self::open(context, candidate) {
                Ok(library) => return Ok(library),
                Err(reason) => why = Err(format!("{}: {reason}", candidate.display())),
            }
        }
        why
    }

    fn open(context: &Arc<Context>, library: &Path) -> Result<Self, Reason> {
        // SAFETY: loading runs the library's own initialization; it is the system's, or one that the user named.
        let library = ManuallyDrop::new(unsafe { Library::new(library) }.map_err(|error| error.to_string())?);
        let functions = Functions::find(&library).map_err(|name| format!("it has no function {name}"))?;
        let mut handle = null_mut();
        context.make_current().map_err(|error| error.to_string())?;
        // SAFETY: the pointer is valid while the call lasts, and the context is current.
        check("cublasLtCreate", unsafe { (functions.cublasLtCreate)(&raw mut handle) })?;
        Ok(Self { context: context.clone(), functions, handle, _library: library })
    }

    /// Has the library choose how to compute products of a shape.
    pub(in crate::device::cuda) fn plan(&self, shape: &Shape) -> Result<Plan, Reason> {
        let f = &self.functions;
        self.context.make_current().map_err(|error| error.to_string())?;
        let description = object("cublasLtMatmulDescCreate", f.cublasLtMatmulDescDestroy, |made| {
            // SAFETY: the pointer is valid while the call lasts.
            unsafe { (f.cublasLtMatmulDescCreate)(made, CUBLAS_COMPUTE_32F, CUDA_R_32F) }
        })?;
        for (which, layout) in [(CUBLASLT_MATMUL_DESC_TRANSA, shape.a), (CUBLASLT_MATMUL_DESC_TRANSB, shape.b)] {
            let operation = c_int::from(layout.transposed);
            set("cublasLtMatmulDescSetAttribute", f.cublasLtMatmulDescSetAttribute, &description, which, operation)?;
        }
        let layout = |layout: Layout, dtype| {
            object("cublasLtMatrixLayoutCreate", f.cublasLtMatrixLayoutDestroy, |made| {
                let (rows, cols, column) = (layout.rows.into(), layout.cols.into(), layout.column.into());
                // SAFETY: as above.
                unsafe { (f.cublasLtMatrixLayoutCreate)(made, dtype, rows, cols, column) }
            })
        };
        let dtype = if shape.dtype == Dtype::F16 { CUDA_R_16F } else { CUDA_R_32F };
        let layouts = [layout(shape.a, dtype)?, layout(shape.b, dtype)?, layout(shape.c, CUDA_R_32F)?];
        let found = self.choose(shape, &description, &layouts)?;
        let Found { algorithm, workspace, .. } = found;
        Ok(Plan { description, layouts, algorithm, accumulate: shape.accumulate, workspace })
    }

    fn choose(&self, shape: &Shape, description: &Object, [a, b, c]: &[Object; 3]) -> Result<Found, Reason> {
        let f = &self.functions;
        let preferences = object("cublasLtMatmulPreferenceCreate", f.cublasLtMatmulPreferenceDestroy, |made| {
            // SAFETY: the pointer is valid while the call lasts.
            unsafe { (f.cublasLtMatmulPreferenceCreate)(made) }
        })?;
        let (name, function) = ("cublasLtMatmulPreferenceSetAttribute", f.cublasLtMatmulPreferenceSetAttribute);
        let prefer = |which, value: u32| set(name, function, &preferences, which, value);
        set(name, function, &preferences, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, MOST_WORKSPACE)?;
        prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE)?;
        let narrow = if shape.dtype == Dtype::F32 { NARROW } else { 0 };
        set(name, function, &preferences, CUBLASLT_MATMUL_PREF_IMPL_MASK, !(INEXACT | narrow))?;
        let [for_a, for_b, for_c] = shape.alignment;
        for (which, bytes) in CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT.into_iter().zip([for_a, for_b, for_c, for_c]) {
            prefer(which, bytes)?;
        }
        let mut found = Found { algorithm: [0; 8], workspace: 0, state: 0, waves: 0.0, reserved: [0; 4] };
        let mut count = 0;
        // SAFETY: all objects are alive, and there is room for the one result that is asked for.
        let status = unsafe {
            (f.cublasLtMatmulAlgoGetHeuristic)(
                self.handle,
                description.object,
                a.object,
                b.object,
                c.object,
                c.object,
                preferences.object,
                1,
                &raw mut found,
                &raw mut count,
            )
        };
        check("cublasLtMatmulAlgoGetHeuristic", status)?;
        check("cublasLtMatmulAlgoGetHeuristic", found.state)?;
        let usable = count > 0 && found.workspace <= MOST_WORKSPACE;
        if usable { Ok(found) } else { Err("it knows no algorithm".to_owned()) }
    }

    /// Appends a product: addresses of a, b and c, and of as much memory as the plan takes.
    pub(in crate::device::cuda) fn run(
        &self,
        plan: &Plan,
        [a, b, c]: [CUdeviceptr; 3],
        workspace: CUdeviceptr,
    ) -> Result<(), Reason> {
        self.context.make_current().map_err(|error| error.to_string())?;
        let (one, beta) = (1.0f32, f32::from(u8::from(plan.accumulate)));
        let [for_a, for_b, for_c] = &plan.layouts;
        // SAFETY: all objects are alive; the numbers are f32, as the description says, and read before the call returns. The
        // matrices lie inside the memory of bindings, as those of a kernel do, and that memory is kept as theirs is.
        let status = unsafe {
            (self.functions.cublasLtMatmul)(
                self.handle,
                plan.description.object,
                std::ptr::from_ref(&one).cast(),
                a,
                for_a.object,
                b,
                for_b.object,
                std::ptr::from_ref(&beta).cast(),
                c,
                for_c.object,
                c,
                for_c.object,
                &raw const plan.algorithm,
                workspace,
                plan.workspace,
                self.context.stream,
            )
        };
        check("cublasLtMatmul", status)
    }
}

impl Drop for CublasLt {
    fn drop(&mut self) {
        // It may free memory of the device, which steps may still be at work on.
        if self.context.synchronize().is_ok() {
            // SAFETY: made by us, and nothing uses it any more.
            unsafe { (self.functions.cublasLtDestroy)(self.handle) };
        }
    }
}

fn object(
    name: &str,
    destroy: unsafe extern "system" fn(Opaque) -> c_int,
    create: impl FnOnce(*mut Opaque) -> c_int,
) -> Result<Object, Reason> {
    let mut object = null_mut();
    check(name, create(&raw mut object))?;
    Ok(Object { object, destroy })
}

type SetAttribute = unsafe extern "system" fn(Opaque, c_uint, *const c_void, usize) -> c_int;

/// Sets an attribute, of which the library wants to know the size.
fn set<T: bytemuck::NoUninit>(
    name: &str,
    function: SetAttribute,
    of: &Object,
    which: c_uint,
    value: T,
) -> Result<(), Reason> {
    // SAFETY: the object is alive, and the value, of that size, is read before the call returns.
    check(name, unsafe { function(of.object, which, (&raw const value).cast(), size_of::<T>()) })
}
