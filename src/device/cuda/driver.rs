//! The driver's library and the functions we call in it.
//!
//! Every function is looked up before any is called, and gives its result as a plain number: a driver may be absent, too
//! old, a stub, or newer than any list of its codes.
#![allow(unsafe_code, reason = "a driver is a library of C functions, found by their names")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use cudarc::driver::sys::{
    CUDA_KERNEL_NODE_PARAMS_v2_st, CUcontext, CUdevice, CUdevice_attribute, CUdeviceptr, CUevent, CUfunction, CUgraph,
    CUgraphExec, CUgraphNode, CUmodule, CUstream,
};
use libloading::Library;

/// Where a library may be that is used instead of the system's driver: an emulation, or a driver in another place.
pub const DRIVER_VARIABLE: &str = "BITSMITH_CUDA_DRIVER";

/// The first version whose drivers read our PTX, as drivers count: 12.0.
const OLDEST: c_int = 12_000;

/// What a function of the driver answers: 0 for success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(pub(super) c_int);

/// A struct of functions, all of which a library must have.
macro_rules! functions {
    ($(#[$about:meta])* $functions:ident { $($name:ident($($argument:ty),*);)* }) => {
        $(#[$about])*
        #[allow(non_snake_case)]
        #[derive(Clone, Copy, Debug)]
        pub(super) struct $functions { $(pub(super) $name: unsafe extern "system" fn($($argument),*) -> c_int,)* }

        impl $functions {
            /// Finds them all, or names one that is missing.
            pub(super) fn find(library: &Library) -> Result<Self, &'static str> {
                // SAFETY: the signatures are those that the library's header has had since these names exist.
                Ok(Self { $($name: *unsafe { library.get(concat!(stringify!($name), "\0")) }
                    .map_err(|_| stringify!($name))?,)* })
            }
        }
    };
}

pub(super) use functions;

functions! {
    /// The functions, under the names that the library gives them.
    Functions {
        cuInit(c_uint);
        cuDriverGetVersion(*mut c_int);
        cuDeviceGetCount(*mut c_int);
        cuDeviceGet(*mut CUdevice, c_int);
        cuDeviceGetName(*mut c_char, c_int, CUdevice);
        cuDeviceGetAttribute(*mut c_int, c_int, CUdevice);
        cuDeviceTotalMem_v2(*mut usize, CUdevice);
        cuDevicePrimaryCtxRetain(*mut CUcontext, CUdevice);
        cuDevicePrimaryCtxRelease_v2(CUdevice);
        cuCtxSetCurrent(CUcontext);
        cuGetErrorName(c_int, *mut *const c_char);
        cuStreamCreate(*mut CUstream, c_uint);
        cuStreamSynchronize(CUstream);
        cuStreamDestroy_v2(CUstream);
        cuMemAlloc_v2(*mut CUdeviceptr, usize);
        cuMemFree_v2(CUdeviceptr);
        cuMemcpyHtoDAsync_v2(CUdeviceptr, *const c_void, usize, CUstream);
        cuMemcpyDtoHAsync_v2(*mut c_void, CUdeviceptr, usize, CUstream);
        cuMemcpyDtoDAsync_v2(CUdeviceptr, CUdeviceptr, usize, CUstream);
        cuModuleLoadDataEx(*mut CUmodule, *const c_void, c_uint, *mut c_int, *mut *mut c_void);
        cuModuleUnload(CUmodule);
        cuModuleGetFunction(*mut CUfunction, CUmodule, *const c_char);
        cuFuncSetAttribute(CUfunction, c_int, c_int);
        cuLaunchKernel(CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, CUstream, *mut *mut c_void,
            *mut *mut c_void);
        cuEventCreate(*mut CUevent, c_uint);
        cuEventRecord(CUevent, CUstream);
        cuEventElapsedTime(*mut f32, CUevent, CUevent);
        cuEventDestroy_v2(CUevent);
    }
}

functions! {
    /// Those of graphs, which a device can do without. 12.0 has them all.
    GraphFunctions {
        cuGraphCreate(*mut CUgraph, c_uint);
        cuGraphAddKernelNode_v2(*mut CUgraphNode, CUgraph, *const CUgraphNode, usize,
            *const CUDA_KERNEL_NODE_PARAMS_v2_st);
        cuGraphInstantiateWithFlags(*mut CUgraphExec, CUgraph, c_ulonglong);
        cuGraphExecKernelNodeSetParams_v2(CUgraphExec, CUgraphNode, *const CUDA_KERNEL_NODE_PARAMS_v2_st);
        cuGraphLaunch(CUgraphExec, CUstream);
        cuGraphExecDestroy(CUgraphExec);
        cuGraphDestroy(CUgraph);
    }
}

/// What a device is, known without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) device: CUdevice,
    /// As in 9.0.
    pub(super) capability: (i32, i32),
    pub(super) memory: u64,
    /// Bytes of shared memory that a block may have without asking for more.
    pub(super) shared: i32,
    pub(super) threads: i32,
    pub(super) driver: i32,
}

/// A driver that answered.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) functions: Functions,
    /// Unless one of them is missing.
    pub(super) graphs: Option<GraphFunctions>,
    /// As drivers count: 12080 is 12.8.
    pub(super) version: c_int,
    /// How many devices it drives, at least one.
    pub(super) devices: c_int,
    /// Never unloaded: a driver leaves threads behind.
    _library: ManuallyDrop<Library>,
}

impl Driver {
    /// Loads a library, or where none is named the system's driver, and asks whether it works.
    ///
    /// # Errors
    /// Why there is no CUDA here, for people.
    pub(super) fn load(library: Option<&Path>) -> Result<Self, String> {
        let library = ManuallyDrop::new(open(library)?);
        let functions = Functions::find(&library)
            .map_err(|name| format!("the driver has no function {name}; a driver for CUDA 12.0 or newer is needed"))?;
        let (mut version, mut devices) = (0, 0);
        // SAFETY: the pointers are valid while each call lasts; before `cuInit` nothing else is called.
        let answers = unsafe {
            [
                ("cuInit", (functions.cuInit)(0)),
                ("cuDriverGetVersion", (functions.cuDriverGetVersion)(&raw mut version)),
            ]
        };
        if let Some((name, code)) = answers.into_iter().find(|(_, code)| *code != 0) {
            return Err(format!("{name} failed: {}", functions.describe(Code(code))));
        }
        if version < OLDEST {
            let (major, minor) = (version / 1000, version % 1000 / 10);
            return Err(format!("the driver is for CUDA {major}.{minor}; one for 12.0 or newer is needed"));
        }
        // SAFETY: as above.
        match unsafe { (functions.cuDeviceGetCount)(&raw mut devices) } {
            0 if devices > 0 => {}
            0 => return Err("the driver finds no device".to_owned()),
            code => return Err(format!("cuDeviceGetCount failed: {}", functions.describe(Code(code)))),
        }
        let graphs = GraphFunctions::find(&library)
            .inspect_err(|name| tracing::debug!("the driver has no function {name}; work is launched step by step"));
        Ok(Self { functions, graphs: graphs.ok(), version, devices, _library: library })
    }

    /// What each device is.
    pub(super) fn all(&self) -> Result<Vec<Facts>, String> {
        (0..self.devices).map(|index| self.facts(index).map_err(|code| self.functions.describe(code))).collect()
    }

    /// What the device of this index is.
    pub(super) fn facts(&self, index: c_int) -> Result<Facts, Code> {
        let check = |code: c_int| if code == 0 { Ok(()) } else { Err(Code(code)) };
        let (f, mut device, mut name, mut memory) = (&self.functions, 0, [0; 256], 0);
        // SAFETY: pointers are valid while each call lasts, the name's with its length, which leaves room for a zero.
        let name = unsafe {
            check((f.cuDeviceGet)(&raw mut device, index))?;
            check((f.cuDeviceGetName)(name.as_mut_ptr(), 255, device))?;
            check((f.cuDeviceTotalMem_v2)(&raw mut memory, device))?;
            CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned()
        };
        let attribute = |which: CUdevice_attribute| {
            let mut value = 0;
            // SAFETY: as above.
            check(unsafe { (f.cuDeviceGetAttribute)(&raw mut value, which as c_int, device) }).map(|()| value)
        };
        Ok(Facts {
            name,
            device,
            capability: (
                attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            ),
            memory: memory as u64,
            shared: attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK)?,
            threads: attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?,
            driver: self.version,
        })
    }
}

impl Functions {
    /// The driver's own name of a code, where it has one, and the number.
    pub(super) fn describe(&self, code: Code) -> String {
        let mut name = std::ptr::null();
        // SAFETY: the pointer is valid; a name is a constant of the library, which stays loaded.
        let name = unsafe {
            match (self.cuGetErrorName)(code.0, &raw mut name) {
                0 if !name.is_null() => CStr::from_ptr(name).to_string_lossy().into_owned(),
                _ => "an error without a name".to_owned(),
            }
        };
        format!("{name} ({})", code.0)
    }
}

/// The first library that can be loaded.
fn open(library: Option<&Path>) -> Result<Library, String> {
    let named = library.map(Path::to_path_buf).or_else(|| std::env::var_os(DRIVER_VARIABLE).map(PathBuf::from));
    let candidates = named.map_or_else(|| SYSTEM.iter().map(PathBuf::from).collect(), |library| vec![library]);
    let mut why = String::new();
    for candidate in candidates {
        // SAFETY: loading runs the library's own initialization, which is that of the system's driver or of one that the
        // user named.
        match unsafe { Library::new(&candidate) } {
            Ok(library) => return Ok(library),
            Err(error) if why.is_empty() => why = error.to_string(),
            Err(_) => {}
        }
    }
    Err(format!("no driver is installed: {}", if why.is_empty() { "there is none for this system" } else { &why }))
}

/// What the driver's library is called; the last one is where Linux under Windows keeps it.
const SYSTEM: &[&str] = if cfg!(windows) {
    &["nvcuda.dll"]
} else if cfg!(target_os = "linux") {
    &["libcuda.so.1", "libcuda.so", "/usr/lib/wsl/lib/libcuda.so.1"]
} else {
    &[]
};
