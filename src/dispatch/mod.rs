//! The contract between kernels and devices. A kernel states its name, bindings, parameters, shader and
//! plain twin; a device runs any kernel from that statement and knows none by name.

mod bindings;
mod cuda;
mod product;
mod variant;

use std::fmt::Debug;

pub use bindings::{Bindings, MAX_BINDINGS, View};
pub use cuda::{CUDA_VARIANT_WORDS, CudaLaunch};
pub use product::{Operand, Product};
pub use variant::{Needs, Part, Role, Variant};

/// What a kernel does with a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only read; may be bound twice.
    Read,
    /// Every element of the result is written, nothing is read.
    Write,
    /// Read and written.
    ReadWrite,
}

/// A function that computes a kernel on the CPU.
pub type CpuRun<P> = fn(&P, &Variant, Bindings<'_>);

/// One compute kernel behind one contract on every device.
///
/// Storage bindings are numbered in the order of [`Self::ACCESS`]; the parameters are a uniform bound
/// after them. Parameters and variant are complete: what a twin computes follows from them alone.
pub trait Kernel: Sized + 'static {
    /// Plain 32-bit fields: the same bytes are the WGSL uniform and the CPU argument.
    type Params: bytemuck::Pod + Debug;
    /// The stem of `shaders/NAME.wgsl` and of `src/kernel/NAME.rs`.
    const NAME: &'static str;
    /// Access of each storage binding.
    const ACCESS: &'static [Access];
    /// The shader's body; the variant's parts complete it.
    const WGSL: &'static str;
    /// The kernel for NVIDIA cards, made from `cuda/NAME.cu`.
    const PTX: Option<&'static str> = None;
    /// Entries for cards of compute capability 9.x alone, made from `cuda/NAME_hopper.cu`.
    const PTX_HOPPER: Option<&'static str> = None;
    /// A fast CPU implementation for kernels that are hot there.
    const FAST: Option<CpuRun<Self::Params>> = None;

    /// Every variant there is.
    fn variants() -> Vec<Variant>;

    /// Workgroup counts.
    fn grid(params: &Self::Params, variant: &Variant) -> [u32; 3];

    /// A launch of its own on CUDA. Without one the entry has the kernel's name, blocks are workgroups, and their
    /// threads are the variant's constant `WG`, or what the entry says of itself.
    fn cuda(_params: &Self::Params, _variant: &Variant) -> Option<CudaLaunch> {
        None
    }

    /// The matrix product that it is, if it is nothing more.
    fn product(_params: &Self::Params, _variant: &Variant) -> Option<Product> {
        None
    }

    /// The launch of an entry in [`Self::PTX_HOPPER`], where the shape suits one; cards that run it take it instead of
    /// [`Self::cuda`].
    fn cuda_hopper(_params: &Self::Params, _variant: &Variant) -> Option<CudaLaunch> {
        None
    }

    /// The plain twin: the specification, written as loops over the formula.
    fn run(params: &Self::Params, variant: &Variant, bindings: Bindings<'_>);

    /// The contract with its types erased.
    const SPEC: &'static KernelSpec = &KernelSpec {
        name: Self::NAME,
        access: Self::ACCESS,
        wgsl: Self::WGSL,
        ptx: Self::PTX,
        ptx_hopper: Self::PTX_HOPPER,
        params: size_of::<Self::Params>(),
        variants: Self::variants,
        grid: |params, variant| Self::grid(&bytemuck::pod_read_unaligned(params), variant),
        cuda: |params, variant| Self::cuda(&bytemuck::pod_read_unaligned(params), variant),
        product: |params, variant| Self::product(&bytemuck::pod_read_unaligned(params), variant),
        cuda_hopper: |params, variant| Self::cuda_hopper(&bytemuck::pod_read_unaligned(params), variant),
        run: |params, variant, bindings| Self::run(&bytemuck::pod_read_unaligned(params), variant, bindings),
        fast: match Self::FAST {
            Some(_) => Some(|params, variant, bindings| {
                if let Some(fast) = Self::FAST {
                    fast(&bytemuck::pod_read_unaligned(params), variant, bindings);
                }
            }),
            None => None,
        },
    };
}

/// A kernel on the CPU with its parameters as bytes.
pub type ErasedRun = fn(&[u8], &Variant, Bindings<'_>);

/// A [`Kernel`] as a value.
#[derive(Debug)]
pub struct KernelSpec {
    /// The stem of its files.
    pub name: &'static str,
    /// Access of each storage binding.
    pub access: &'static [Access],
    /// The shader's body.
    pub wgsl: &'static str,
    /// The kernel for NVIDIA cards.
    pub ptx: Option<&'static str>,
    /// Its entries for cards of compute capability 9.x alone.
    pub ptx_hopper: Option<&'static str>,
    /// Bytes of the parameters.
    pub params: usize,
    /// Every variant there is.
    pub variants: fn() -> Vec<Variant>,
    /// Workgroup counts.
    pub grid: fn(&[u8], &Variant) -> [u32; 3],
    /// A launch of its own on CUDA.
    pub cuda: fn(&[u8], &Variant) -> Option<CudaLaunch>,
    /// The matrix product that it is, if it is nothing more.
    pub product: fn(&[u8], &Variant) -> Option<Product>,
    /// The launch of an entry for cards of compute capability 9.x alone.
    pub cuda_hopper: fn(&[u8], &Variant) -> Option<CudaLaunch>,
    /// The plain twin.
    pub run: ErasedRun,
    /// The fast CPU implementation.
    pub fast: Option<ErasedRun>,
}

/// Most workgroups along one axis on portable limits.
pub const MAX_GROUPS: u32 = 65_535;

/// Spreads `groups` workgroups over two axes; a shader's index is `wg.y * groups.x + wg.x`, and it leaves when
/// that is out of range.
pub fn linear_grid(groups: usize) -> [u32; 3] {
    let groups = u32::try_from(groups).unwrap_or(u32::MAX);
    let x = groups.clamp(1, MAX_GROUPS);
    [x, groups.div_ceil(x).max(1), 1]
}
