//! Finding adapters and what they offer.

use super::Matrices;
use crate::device::caps::{Caps, DeviceKind};
use crate::kernel::part::MATRIX_SIDES;

/// All adapters of all interfaces: real GPUs first, discrete ones before integrated ones.
pub(super) async fn adapters() -> Vec<wgpu::Adapter> {
    // Setting up OpenGL as well would only cost time and print complaints of its libraries.
    let backends = wgpu::Backends::PRIMARY;
    let descriptor = wgpu::InstanceDescriptor { backends, ..wgpu::InstanceDescriptor::new_without_display_handle() };
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = instance.enumerate_adapters(backends).await;
    adapters.sort_by_key(|a| match a.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    adapters
}

/// The optional features we make use of.
pub(super) const FEATURES: wgpu::Features =
    wgpu::Features::SHADER_F16.union(wgpu::Features::SUBGROUP).union(wgpu::Features::TIMESTAMP_QUERY);

/// The feature of cooperative matrices, which wgpu calls experimental.
pub(super) const MATRICES: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;

/// The largest subgroup with which four share the workgroup of part `tile_matrix`. Where subgroups may be larger there can
/// be too few of them, and wgpu cannot ask for a size.
const MOST_SUBGROUP: u32 = 32;

/// The cooperative matrices of an adapter that may be used.
pub(super) fn offered(adapter: &wgpu::Adapter, matrices: Matrices) -> Vec<wgpu::CooperativeMatrixProperties> {
    match matrices {
        Matrices::OfAll => adapter.cooperative_matrix_properties(),
        Matrices::OfGpus if adapter.get_info().device_type != wgpu::DeviceType::Cpu => {
            adapter.cooperative_matrix_properties()
        }
        Matrices::OfGpus | Matrices::Off => Vec::new(),
    }
}

/// The side of the cooperative matrices to use, of those that an adapter offers.
pub(super) fn matrix_side(info: &wgpu::AdapterInfo, offered: &[wgpu::CooperativeMatrixProperties]) -> Option<u32> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let fits = |side: u32, of: &wgpu::CooperativeMatrixProperties| {
        [of.m_size, of.n_size, of.k_size] == [side; 3] && (of.ab_type, of.cr_type) == (F16, F32)
    };
    let side = MATRIX_SIDES.into_iter().find(|side| offered.iter().any(|of| fits(*side, of)))?;
    (info.subgroup_max_size <= MOST_SUBGROUP).then_some(side)
}

/// What an adapter offers, or a device made from it with these features and limits. `matrices` are the cooperative matrices
/// of the adapter.
pub(super) fn caps(
    info: &wgpu::AdapterInfo,
    features: wgpu::Features,
    limits: &wgpu::Limits,
    matrices: &[wgpu::CooperativeMatrixProperties],
) -> Caps {
    let all = MATRICES | wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP;
    let subgroups = (info.subgroup_min_size, info.subgroup_max_size);
    Caps {
        name: info.name.clone(),
        backend: info.backend.to_str().to_owned(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        kind: if info.device_type == wgpu::DeviceType::Cpu { DeviceKind::Software } else { DeviceKind::Gpu },
        f16: features.contains(wgpu::Features::SHADER_F16),
        subgroups: features.contains(wgpu::Features::SUBGROUP).then_some(subgroups),
        wgmma: false,
        cooperative_matrix: if features.contains(all) { matrix_side(info, matrices) } else { None },
        // Bindings are sized in whole words.
        max_binding_bytes: limits.max_storage_buffer_binding_size / 4 * 4,
        max_buffer_bytes: limits.max_buffer_size,
        max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
        max_invocations: limits.max_compute_invocations_per_workgroup,
    }
}
