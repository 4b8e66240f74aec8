//! Every variant of every kernel against its contract, without a device: the shader parses and validates, its bindings
//! and parameters are those of the contract, it fits portable limits, and it translates to SPIR-V, MSL and HLSL.
//! The CUDA side of each is compared too, see `cuda/contract.rs`.
//! With `BITSMITH_DUMP_SHADERS` set to a folder every variant is also written there, for `.ci/tint`.
#![cfg(feature = "wgpu")]

#[cfg(feature = "cuda")]
#[path = "cuda/contract.rs"]
mod cuda;

use std::path::Path;

use bitsmith::device::Caps;
use bitsmith::device::wgpu::{assemble, assemble_for_browser};
use bitsmith::dispatch::{Access, KernelSpec, Variant};
use bitsmith::kernel;
use libtest_mimic::{Arguments, Failed, Trial};
use naga::back::{hlsl, msl, pipeline_constants::process_overrides, spv};
use naga::valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage, StorageAccess};
use serde_json::json;

/// Portable limits of one compute stage (WebGPU's defaults).
const STORAGE_BUFFERS: usize = 8;

fn main() {
    let arguments = Arguments::from_args();
    let trials = kernel::ALL.iter().flat_map(|spec| {
        (spec.variants)().into_iter().map(move |variant| {
            Trial::test(format!("{}/{variant}", spec.name), move || check(spec, &variant).map_err(Failed::from))
        })
    });
    let trials = trials.collect::<Vec<_>>().into_iter();
    #[cfg(feature = "cuda")]
    let trials = trials.chain(cuda::trials());
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn check(spec: &KernelSpec, variant: &Variant) -> Result<(), String> {
    if let Some(folder) = std::env::var_os("BITSMITH_DUMP_SHADERS") {
        dump(folder.as_ref(), spec, variant).map_err(|e| e.to_string())?;
    }
    let source = assemble(spec, variant);
    let module = naga::front::wgsl::parse_str(&source).map_err(|e| e.emit_to_string(&source))?;
    let mut capabilities = Capabilities::empty();
    capabilities.set(Capabilities::SHADER_FLOAT16, variant.needs().f16);
    capabilities.set(Capabilities::SUBGROUP, variant.needs().subgroups);
    capabilities.set(Capabilities::COOPERATIVE_MATRIX, variant.needs().cooperative_matrix.is_some());
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    validator.subgroup_stages(ShaderStages::COMPUTE).subgroup_operations(SubgroupOperationSet::all());
    let info = validator.validate(&module).map_err(|e| e.emit_to_string(&source))?;
    bindings(spec, &module)?;
    let constants = variant.constants().map(|(name, value)| (name.to_owned(), f64::from(value))).collect();
    let entry = Some((ShaderStage::Compute, "main"));
    let (module, info) = process_overrides(&module, &info, entry, &constants).map_err(|e| format!("{e:?}"))?;
    limits(&module)?;
    translate(&module, &info, variant)
}

/// Writes what a browser is given to make the pipeline of this variant.
fn dump(folder: &Path, spec: &KernelSpec, variant: &Variant) -> std::io::Result<()> {
    let name = format!("{}.{variant}", spec.name);
    let constants: serde_json::Map<_, _> = variant.constants().map(|(n, v)| (n.to_owned(), json!(v))).collect();
    let shader = json!({
        "name": name,
        "source": assemble_for_browser(spec, variant),
        "constants": constants,
        "written": spec.access.iter().map(|access| *access != Access::Read).collect::<Vec<_>>(),
        "params": spec.params,
        "f16": variant.needs().f16,
        "subgroups": variant.needs().subgroups,
        "cooperative_matrix": variant.needs().cooperative_matrix,
    });
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join(name + ".json"), shader.to_string())
}

/// Storage bindings equal the contract's access, and the uniform after them has the size of the parameters.
fn bindings(spec: &KernelSpec, module: &Module) -> Result<(), String> {
    let mut found = Vec::new();
    for (_, variable) in module.global_variables.iter() {
        let Some(binding) = variable.binding else { continue };
        let access = match variable.space {
            AddressSpace::Storage { access } => Some(access.contains(StorageAccess::STORE)),
            AddressSpace::Uniform => None,
            other => return Err(format!("binding {} is in {other:?}", binding.binding)),
        };
        let size = module.types[variable.ty].inner.size(module.to_ctx());
        found.push((binding.binding, access, size));
    }
    found.sort_by_key(|f| f.0);
    let storage: Vec<_> = found.iter().filter_map(|f| f.1).collect();
    let contract: Vec<_> = spec.access.iter().map(|a| *a != Access::Read).collect();
    if storage != contract {
        return Err(format!("bindings write {storage:?}, the contract says {contract:?}"));
    }
    match found.last() {
        Some((index, None, size)) if *index as usize == contract.len() && *size as usize == spec.params => Ok(()),
        last => Err(format!("the last binding is {last:?}, not a uniform of {} bytes", spec.params)),
    }
}

fn limits(module: &Module) -> Result<(), String> {
    let portable = Caps::portable();
    let storage =
        module.global_variables.iter().filter(|(_, v)| matches!(v.space, AddressSpace::Storage { .. })).count();
    let shared = module.global_variables.iter().filter(|(_, v)| v.space == AddressSpace::WorkGroup);
    let shared: u32 = shared.map(|(_, v)| module.types[v.ty].inner.size(module.to_ctx())).sum();
    let invocations: u32 = module.entry_points[0].workgroup_size.iter().product();
    if storage > STORAGE_BUFFERS || shared > portable.max_workgroup_bytes || invocations > portable.max_invocations {
        return Err(format!(
            "{storage} storage buffers, {shared} bytes of workgroup memory, {invocations} invocations"
        ));
    }
    Ok(())
}

/// Side of the cooperative matrices that Metal has; HLSL has none of any size.
const METAL_MATRIX: u32 = 8;

/// To SPIR-V, and to MSL and HLSL what there is in these languages.
fn translate(module: &Module, info: &ModuleInfo, variant: &Variant) -> Result<(), String> {
    let matrix = variant.needs().cooperative_matrix;
    if matrix.is_none_or(|side| side == METAL_MATRIX) {
        let metal = msl::Options { lang_version: (2, 4), ..Default::default() };
        msl::write_string(module, info, &metal, &msl::PipelineOptions::default()).map_err(|e| format!("MSL: {e}"))?;
    }
    if matrix.is_none() {
        let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_2, ..Default::default() };
        let pipeline = hlsl::PipelineOptions::default();
        let mut text = String::new();
        hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(module, info, None)
            .map_err(|e| format!("HLSL: {e}"))?;
    }
    let options = spv::Options { lang_version: (1, 3), ..Default::default() };
    spv::write_vec(module, info, &options, None).map_err(|e| format!("SPIR-V: {e}"))?;
    Ok(())
}
