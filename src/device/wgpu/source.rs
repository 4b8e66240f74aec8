//! Puts a shader together: the lines that must come first, the kernel's body, then its parts. WGSL
//! declarations need no order, so parts may use what the body declares and the other way round.

use crate::dispatch::{KernelSpec, Variant};

/// The WGSL of a kernel in one variant, as naga takes it: without the `enable subgroups;` that the language asks for.
pub fn assemble(spec: &KernelSpec, variant: &Variant) -> String {
    let mut source = String::new();
    if variant.needs().f16 {
        source.push_str("enable f16;\n");
    }
    if variant.needs().cooperative_matrix.is_some() {
        source.push_str("enable wgpu_cooperative_matrix;\n");
    }
    source.push_str(spec.wgsl);
    for part in variant.parts() {
        source.push('\n');
        source.push_str(part.wgsl);
    }
    source
}

/// The WGSL of a kernel in one variant, as browsers take it: as the language asks, with every extension enabled. None takes
/// a variant that needs cooperative matrices.
///
/// ```
/// use bitsmith::{device::wgpu::assemble_for_browser, kernel};
/// for kernel in kernel::ALL {
///     for variant in (kernel.variants)().iter().filter(|variant| variant.needs().subgroups) {
///         assert!(assemble_for_browser(kernel, variant).starts_with("enable subgroups;"));
///     }
/// }
/// ```
pub fn assemble_for_browser(spec: &KernelSpec, variant: &Variant) -> String {
    let enable = if variant.needs().subgroups { "enable subgroups;\n" } else { "" };
    format!("{enable}{}", assemble(spec, variant))
}
