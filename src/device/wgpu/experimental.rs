//! Leave to use features that wgpu calls experimental. Unsafe, because wgpu does not promise that no use of them is
//! undefined behaviour: where a shader gets cooperative matrices wrong, nothing checks it.

/// Leave for a device that is opened with these features.
#[allow(unsafe_code, reason = "wgpu asks for the promise to look at what it does not check")]
pub(super) fn leave(features: wgpu::Features) -> wgpu::ExperimentalFeatures {
    if !features.intersects(wgpu::Features::all_experimental_mask()) {
        return wgpu::ExperimentalFeatures::disabled();
    }
    // SAFETY: of these features only cooperative matrices are ever asked for (`adapter::MATRICES`). The shaders that use
    // them load and store whole matrices within arrays in workgroup memory, multiply types and sizes that the adapter
    // lists, and are run by the self-test before anything else.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}
