//! How one kernel differs from call to call: by part files that supply agreed functions, and by constants.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::dtype::Dtype;

/// What a device must offer beyond the portable base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Half-precision arithmetic in shaders.
    pub f16: bool,
    /// Subgroup operations.
    pub subgroups: bool,
    /// Cooperative matrices of so many rows and columns: operands in f16, sums in f32.
    pub cooperative_matrix: Option<u32>,
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
    /// `multiply_add`: products of matrices that a subgroup holds together.
    Matrix,
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
    /// Its number among the parts of its role on CUDA, from 1; 0 for roles that do not vary there.
    pub id: u32,
    /// What it needs.
    pub needs: Needs,
    /// The storage type it reads, where that is what it is about.
    pub dtype: Option<Dtype>,
}

/// A part is known by its name.
impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Part {}

impl Hash for Part {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// The most that a variant has.
const MOST_PARTS: usize = 7;
pub(super) const MOST_CONSTANTS: usize = 4;

/// One way to run a kernel: the parts that complete its shader and its constants.
///
/// All in place: a variant is chosen for each dispatch, and lists on the heap would take as long as a small kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Variant {
    parts: [Option<&'static Part>; MOST_PARTS],
    constants: [Option<(&'static str, u32)>; MOST_CONSTANTS],
}

impl Variant {
    /// The variant of a kernel that does not vary.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part.
    ///
    /// # Panics
    /// If the variant is full; the contract test builds every variant.
    #[inline]
    #[must_use]
    pub fn part(mut self, part: &'static Part) -> Self {
        fill(&mut self.parts, part);
        self
    }

    /// Sets an `override` constant.
    ///
    /// # Panics
    /// As [`Self::part`].
    #[inline]
    #[must_use]
    pub fn constant(mut self, name: &'static str, value: u32) -> Self {
        fill(&mut self.constants, (name, value));
        self
    }

    /// The parts.
    pub fn parts(&self) -> impl Iterator<Item = &'static Part> {
        self.parts.iter().copied().flatten()
    }

    /// The constants.
    pub fn constants(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.constants.iter().copied().flatten()
    }

    /// The value of a constant.
    ///
    /// # Panics
    /// If the variant has none of that name; the contract test builds every variant.
    pub fn get(&self, name: &str) -> u32 {
        match self.constants().find(|(n, _)| *n == name) {
            Some((_, value)) => value,
            None => panic!("variant {self} has no constant {name}"),
        }
    }

    /// The part of a role.
    pub fn of(&self, role: Role) -> Option<&'static Part> {
        self.parts().find(|p| p.role == role)
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
        self.parts().fold(Needs::default(), |all, p| Needs {
            f16: all.f16 || p.needs.f16,
            subgroups: all.subgroups || p.needs.subgroups,
            cooperative_matrix: all.cooperative_matrix.or(p.needs.cooperative_matrix),
        })
    }
}

/// Puts a value into the first place that is free.
#[inline]
fn fill<T>(places: &mut [Option<T>], value: T) {
    match places.iter_mut().find(|place| place.is_none()) {
        Some(place) => *place = Some(value),
        None => panic!("no variant has more than {MOST_PARTS} parts and {MOST_CONSTANTS} constants"),
    }
}

/// Parts and constants joined by dots: `x_f16.codes_dense.BITS=4`.
impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.parts().filter(|p| p.role != Role::Library).map(|p| p.name.to_owned());
        let constants = self.constants().map(|(n, v)| format!("{n}={v}"));
        let words: Vec<_> = parts.chain(constants).collect();
        f.write_str(if words.is_empty() { "plain" } else { "" })?;
        f.write_str(&words.join("."))
    }
}
