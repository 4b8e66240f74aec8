//! The devices of a machine.

use std::fmt;

use serde::Serialize;

use super::number::bytes;
use crate::check::SelfTest;
use crate::device::{Caps, DeviceKind};
use crate::error::Result;

/// All devices.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceReports {
    /// In the order in which they are numbered.
    pub devices: Vec<DeviceReport>,
    /// Kinds of device that this machine lacks, with the reason.
    pub absent: Vec<AbsentDevice>,
}

/// A kind of device that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AbsentDevice {
    /// What `--device` takes.
    pub device: String,
    /// Why it is not there.
    pub why: String,
}

/// A device, what it offers, and whether it computes rightly. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceReport {
    /// What `--device` takes: `cpu`, `wgpu:0`, `cuda:0`.
    pub device: String,
    /// Name, as its driver gives it.
    pub name: String,
    /// Interface.
    pub backend: String,
    /// Driver and version.
    pub driver: String,
    /// `cpu`, `gpu` or `software`.
    pub kind: &'static str,
    /// Half-precision arithmetic in shaders.
    pub f16: bool,
    /// Smallest and largest subgroup, where there are subgroup operations.
    pub subgroups: Option<(u32, u32)>,
    /// Matrix products by four warps together, which CUDA cards of compute capability 9.x have.
    pub wgmma: bool,
    /// Rows of the cooperative matrices that products use.
    pub cooperative_matrix: Option<u32>,
    /// Instruction sets of a processor.
    pub simd: Vec<&'static str>,
    /// Largest storage binding.
    pub max_binding_bytes: u64,
    /// Largest buffer.
    pub max_buffer_bytes: u64,
    /// Most workgroup memory.
    pub max_workgroup_bytes: u32,
    /// Most invocations of a workgroup.
    pub max_invocations: u32,
    /// Whether all kernels that were tried are right.
    pub self_test: bool,
    /// What was tried, or what went wrong.
    pub self_test_detail: String,
}

impl DeviceReport {
    /// Of a device that offers this and whose self-test came out like this.
    pub fn new(device: impl Into<String>, caps: &Caps, simd: Vec<&'static str>, test: Result<SelfTest>) -> Self {
        Self {
            device: device.into(),
            name: caps.name.clone(),
            backend: caps.backend.clone(),
            driver: caps.driver.clone(),
            kind: match caps.kind {
                DeviceKind::Cpu => "cpu",
                DeviceKind::Gpu => "gpu",
                DeviceKind::Software => "software",
            },
            f16: caps.f16,
            subgroups: caps.subgroups,
            wgmma: caps.wgmma,
            cooperative_matrix: caps.cooperative_matrix,
            simd,
            max_binding_bytes: caps.max_binding_bytes,
            max_buffer_bytes: caps.max_buffer_bytes,
            max_workgroup_bytes: caps.max_workgroup_bytes,
            max_invocations: caps.max_invocations,
            self_test: test.is_ok(),
            self_test_detail: match test {
                Ok(test) => format!("{} kernels in {:.2} s", test.kernels, test.seconds),
                Err(error) => error.to_string(),
            },
        }
    }
}

impl fmt::Display for DeviceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: String| writeln!(f, "  {name:<11}{value}");
        line("name", self.name.clone())?;
        if self.backend != self.kind {
            line("interface", format!("{} ({})", self.backend, self.kind))?;
        }
        line("driver", self.driver.clone())?;
        if self.kind == "cpu" {
            line("simd", if self.simd.is_empty() { "none".to_owned() } else { self.simd.join(", ") })?;
        } else {
            let subgroups = match self.subgroups {
                Some((least, most)) if least == most => format!("subgroups of {most}"),
                Some((least, most)) => format!("subgroups of {least} to {most}"),
                None => "no subgroups".to_owned(),
            };
            let f16 = if self.f16 { "f16" } else { "no f16" };
            let wgmma = if self.wgmma { ", wgmma" } else { "" };
            let matrices = self.cooperative_matrix.map(|side| format!(", cooperative matrices of {side}x{side}"));
            line("shaders", format!("{f16}, {subgroups}{wgmma}{}", matrices.unwrap_or_default()))?;
            let (buffer, binding) = (bytes(self.max_buffer_bytes), bytes(self.max_binding_bytes));
            line("limits", format!("buffer {buffer}, binding {binding}"))?;
            let (memory, invocations) = (self.max_workgroup_bytes, self.max_invocations);
            line("workgroup", format!("{memory} B of memory, {invocations} invocations"))?;
        }
        line("self-test", format!("{}: {}", if self.self_test { "passed" } else { "FAILED" }, self.self_test_detail))
    }
}

impl fmt::Display for DeviceReports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.devices.iter().try_for_each(|report| write!(f, "{}\n{report}", report.device))?;
        self.absent.iter().try_for_each(|absent| writeln!(f, "{}\n  absent     {}", absent.device, absent.why))
    }
}
