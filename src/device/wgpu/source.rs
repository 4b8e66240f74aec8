//! Puts a shader together: the lines that must come first, the kernel's body, then its parts. WGSL
//! declarations need no order, so parts may use what the body declares and the other way round.

use crate::dispatch::{KernelSpec, Variant};

/// The WGSL of a kernel in one variant, as naga takes it. (Browsers also want `enable subgroups;`, which
/// naga refuses.)
pub fn assemble(spec: &KernelSpec, variant: &Variant) -> String {
    let mut source = String::new();
    if variant.needs().f16 {
        source.push_str("enable f16;\n");
    }
    source.push_str(spec.wgsl);
    for part in variant.parts() {
        source.push('\n');
        source.push_str(part.wgsl);
    }
    source
}
