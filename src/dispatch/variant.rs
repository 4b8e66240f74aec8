//! How one kernel differs from call to call: by part files that supply agreed functions, and by constants.

use std::fmt;

use crate::dtype::Dtype;

/// What a device must offer beyond the portable base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Half-precision arithmetic in shaders.
    pub f16: bool,
    /// Subgroup operations.
    pub subgroups: bool,
}

/// What a part supplies. Of each role a variant holds one part at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Functions that read the main tensor.
    Weight,
    /// Functions that read activations.
    Activation,
    /// `scale_at`: scales.
    Scale,
    /// `code_at`, `codes8`: packed codes.
    Codes,
    /// `zero_at`: zero points.
    Zero,
    /// Sums over a workgroup, and the entry point that they need.
    Reduce,
    /// `act`: an activation function.
    Function,
    /// `slope`: the derivative of one.
    Slope,
    /// Anything that does not vary: plain functions several kernels share.
    Library,
}

/// A file of WGSL functions.
#[derive(Debug)]
pub struct Part {
    /// Stem of `shaders/part/NAME.wgsl`.
    pub name: &'static str,
    /// The functions.
    pub wgsl: &'static str,
    /// What it supplies.
    pub role: Role,
    /// What it needs.
    pub needs: Needs,
    /// The storage type it reads, where that is what it is about.
    pub dtype: Option<Dtype>,
}

/// One way to run a kernel: the parts that complete its shader and its constants.
#[derive(Clone, Debug)]
pub struct Variant {
    parts: Vec<&'static Part>,
    constants: Vec<(&'static str, u32)>,
}

impl Variant {
    /// The variant of a kernel that does not vary.
    pub fn new() -> Self {
        // Room for what most variants have: they are made for each dispatch.
        Self { parts: Vec::with_capacity(6), constants: Vec::with_capacity(4) }
    }

    /// Adds a part.
    #[must_use]
    pub fn part(mut self, part: &'static Part) -> Self {
        self.parts.push(part);
        self
    }

    /// Sets an `override` constant.
    #[must_use]
    pub fn constant(mut self, name: &'static str, value: u32) -> Self {
        self.constants.push((name, value));
        self
    }

    /// The parts.
    pub fn parts(&self) -> &[&'static Part] {
        &self.parts
    }

    /// The constants.
    pub fn constants(&self) -> &[(&'static str, u32)] {
        &self.constants
    }

    /// The value of a constant.
    ///
    /// # Panics
    /// If the variant has none of that name; the contract test builds every variant.
    pub fn get(&self, name: &str) -> u32 {
        match self.constants.iter().find(|(n, _)| *n == name) {
            Some((_, value)) => *value,
            None => panic!("variant {self} has no constant {name}"),
        }
    }

    /// The part of a role.
    pub fn of(&self, role: Role) -> Option<&'static Part> {
        self.parts.iter().copied().find(|p| p.role == role)
    }

    /// The storage type that the part of a role reads.
    ///
    /// # Panics
    /// If there is no such part, or it is not about a storage type.
    pub fn dtype(&self, role: Role) -> Dtype {
        match self.of(role).and_then(|p| p.dtype) {
            Some(dtype) => dtype,
            None => panic!("variant {self} reads no {role:?} of a storage type"),
        }
    }

    /// What the variant needs of a device.
    pub fn needs(&self) -> Needs {
        self.parts.iter().fold(Needs::default(), |all, p| Needs {
            f16: all.f16 || p.needs.f16,
            subgroups: all.subgroups || p.needs.subgroups,
        })
    }
}

impl Default for Variant {
    fn default() -> Self {
        Self::new()
    }
}

/// Parts and constants joined by dots: `x_f16.codes_dense.BITS=4`.
impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.parts.iter().filter(|p| p.role != Role::Library).map(|p| p.name.to_owned());
        let constants = self.constants.iter().map(|(n, v)| format!("{n}={v}"));
        let words: Vec<_> = parts.chain(constants).collect();
        f.write_str(if words.is_empty() { "plain" } else { "" })?;
        f.write_str(&words.join("."))
    }
}
