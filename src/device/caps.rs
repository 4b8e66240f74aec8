//! What a device offers, as data.

use crate::dispatch::Needs;

/// The kind of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// The processor.
    Cpu,
    /// A graphics card or integrated GPU.
    Gpu,
    /// A software implementation of a GPU interface: right for tests, never chosen on its own.
    Software,
}

/// What a device offers. Sizes in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Caps {
    /// Name, as its driver gives it.
    pub name: String,
    /// Interface: `cpu`, `cuda`, `vulkan`, `metal`, `dx12`, `webgpu`.
    pub backend: String,
    /// Driver and version.
    pub driver: String,
    /// Kind.
    pub kind: DeviceKind,
    /// Half-precision arithmetic in shaders.
    pub f16: bool,
    /// Smallest and largest subgroup, where subgroup operations are offered.
    pub subgroups: Option<(u32, u32)>,
    /// Matrix products by four warps together, which CUDA cards of compute capability 9.x have.
    pub wgmma: bool,
    /// Rows and columns of cooperative matrices, where subgroups multiply such with operands in f16 and sums in f32.
    pub cooperative_matrix: Option<u32>,
    /// Largest storage binding.
    pub max_binding_bytes: u64,
    /// Largest buffer.
    pub max_buffer_bytes: u64,
    /// Most workgroup memory.
    pub max_workgroup_bytes: u32,
    /// Most invocations of a workgroup.
    pub max_invocations: u32,
}

impl Caps {
    /// The portable base: WebGPU's default limits and no optional feature.
    pub fn portable() -> Self {
        Self {
            name: "portable".into(),
            backend: "webgpu".into(),
            driver: String::new(),
            kind: DeviceKind::Gpu,
            f16: false,
            subgroups: None,
            wgmma: false,
            cooperative_matrix: None,
            max_binding_bytes: 128 << 20,
            max_buffer_bytes: 256 << 20,
            max_workgroup_bytes: 16 << 10,
            max_invocations: 256,
        }
    }

    /// Whether a variant with these needs can run.
    pub fn meet(&self, needs: Needs) -> bool {
        (self.f16 || !needs.f16)
            && (self.subgroups.is_some() || !needs.subgroups)
            && (needs.cooperative_matrix.is_none() || self.cooperative_matrix == needs.cooperative_matrix)
    }

    /// What of these needs is not met, for people.
    pub fn lacking(&self, needs: Needs) -> Vec<String> {
        let matrix = needs.cooperative_matrix.filter(|side| self.cooperative_matrix != Some(*side));
        let lacks = [(needs.f16 && !self.f16, "f16"), (needs.subgroups && self.subgroups.is_none(), "subgroups")];
        let lacks = lacks.into_iter().filter(|(lacks, _)| *lacks).map(|(_, what)| what.to_owned());
        lacks.chain(matrix.map(|side| format!("cooperative matrices of {side} rows"))).collect()
    }
}
