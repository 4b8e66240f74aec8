//! Compute pipelines, created when first used and kept.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::WgpuDevice;
use crate::dispatch::{Access, KernelSpec, Variant};
use crate::error::Result;

/// A pipeline and how its bindings are laid out.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    pub(super) compute: wgpu::ComputePipeline,
    pub(super) bindings: wgpu::BindGroupLayout,
}

/// The pipelines of one device.
#[derive(Debug, Default)]
pub(super) struct Pipelines(Mutex<HashMap<(&'static str, Variant), Pipeline>>);

impl Pipelines {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The pipeline of a kernel in a variant. One that cannot be created is not kept.
    pub(super) fn get(&self, device: &WgpuDevice, spec: &KernelSpec, variant: &Variant) -> Result<Pipeline> {
        let key = (spec.name, variant.clone());
        let mut pipelines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = pipelines.get(&key) {
            return Ok(pipeline.clone());
        }
        let pipeline = device.watch(|| Ok(create(&device.device, spec, variant)))?;
        Ok(pipelines.entry(key).or_insert(pipeline).clone())
    }
}

fn create(device: &wgpu::Device, spec: &KernelSpec, variant: &Variant) -> Pipeline {
    let label = &*format!("{} {variant}", spec.name);
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(label),
        source: wgpu::ShaderSource::Wgsl(super::source::assemble(spec, variant).into()),
    });
    // From the contract, not from the shader: an automatic layout drops bindings that a variant leaves unused.
    let storage = spec.access.iter().map(|a| wgpu::BufferBindingType::Storage { read_only: *a == Access::Read });
    let entries: Vec<_> = storage
        .chain([wgpu::BufferBindingType::Uniform])
        .zip(0..)
        .map(|(ty, binding)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        })
        .collect();
    let bindings =
        device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(label), entries: &entries });
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(label),
        bind_group_layouts: &[Some(&bindings)],
        immediate_size: 0,
    });
    let constants: Vec<_> = variant.constants().map(|(name, value)| (name, f64::from(value))).collect();
    let compute = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(label),
        layout: Some(&layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions { constants: &constants, ..Default::default() },
        cache: None,
    });
    Pipeline { compute, bindings }
}
