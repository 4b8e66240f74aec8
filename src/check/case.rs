//! One dispatch of one kernel with its data.

use super::compare::Tolerance;
use crate::device::{Device, Recorder};
use crate::dispatch::{Access, Bindings, Kernel, KernelSpec, Variant, View};
use crate::error::{Error, Result};

/// What a case binds.
#[derive(Clone, Debug)]
pub enum Binding {
    /// Data to read.
    In(Vec<u32>),
    /// A result of this many words, with the tolerance for each.
    Out(usize, Tolerance),
    /// Data that is changed in place.
    InOut(Vec<u32>, Tolerance),
}

/// One dispatch with its data.
#[derive(Clone, Debug)]
pub struct Case {
    /// The kernel.
    pub kernel: &'static KernelSpec,
    /// How it is run.
    pub variant: Variant,
    /// The size, for people.
    pub size: String,
    /// Bytes that must be moved at least, for benches.
    pub bytes: usize,
    /// Multiplications and additions, for benches.
    pub operations: usize,
    params: Vec<u8>,
    bindings: Vec<Binding>,
}

/// Outputs are filled with this NaN: what survives was never written.
const POISON: u32 = 0x7fc0_dead;
/// Words after each output, inside the binding, that must stay poisoned: a shader's write past the end of a
/// binding would be dropped in silence.
const GUARD: usize = 64;

impl Case {
    /// A case of a kernel. Bindings follow its contract.
    pub fn new<K: Kernel>(variant: Variant, size: String, params: &K::Params, bindings: Vec<Binding>) -> Self {
        let bytes = bindings.iter().map(|b| 4 * b.words()).sum();
        let params = bytemuck::bytes_of(params).to_vec();
        Self { kernel: K::SPEC, variant, size, params, bindings, bytes, operations: 0 }
    }

    /// The same case with its number of operations.
    #[must_use]
    pub fn operations(self, operations: usize) -> Self {
        Self { operations, ..self }
    }

    /// `kernel/variant/size`.
    pub fn name(&self) -> String {
        format!("{}/{}/{}", self.kernel.name, self.variant, self.size)
    }

    /// Runs the case on a device and compares every output with the twin's.
    pub async fn check(&self, device: &Device) -> Result<()> {
        Self::check_all(std::slice::from_ref(self), device).await
    }

    /// Runs several cases in one submission and compares every output with the twin's.
    pub async fn check_all(cases: &[Self], device: &Device) -> Result<()> {
        let mut recorder = Recorder::new(device);
        let buffers = cases.iter().map(|case| case.record(&mut recorder)).collect::<Result<Vec<_>>>()?;
        recorder.submit()?;
        for (case, buffers) in cases.iter().zip(buffers) {
            let results: Vec<usize> = (0..buffers.len()).filter(|i| case.bindings[*i].tolerance().is_some()).collect();
            let found = device.read_all(&results.iter().map(|i| &buffers[*i]).collect::<Vec<_>>()).await?;
            let expected = case.twin();
            for (i, found) in results.into_iter().zip(found) {
                let (binding, found) = (&case.bindings[i], bytemuck::pod_collect_to_vec(&found));
                compare(&expected[i], &found, binding).map_err(|detail| Error::Device {
                    device: format!("{} ({})", device.caps().name, device.caps().driver),
                    detail: format!("{} computes wrongly: binding {i}, {detail}", case.name()),
                })?;
            }
        }
        Ok(())
    }

    /// Appends the dispatch to a recording, with buffers of its own.
    pub fn record(&self, recorder: &mut Recorder) -> Result<Vec<crate::device::Buffer>> {
        let device = recorder.device().clone();
        let buffers = self.memory().iter().map(|words| device.upload(words)).collect::<Result<Vec<_>>>()?;
        let bound: Vec<_> = buffers.iter().collect();
        recorder.dispatch_spec(self.kernel, self.variant.clone(), &self.params, &bound)?;
        Ok(buffers)
    }

    /// What the plain twin leaves in each binding.
    pub fn twin(&self) -> Vec<Vec<u32>> {
        let mut memory = self.memory();
        let views = memory.iter_mut().zip(self.kernel.access).map(|(words, access)| match access {
            Access::Read => View::Read(words),
            Access::Write | Access::ReadWrite => View::Write(words),
        });
        (self.kernel.run)(&self.params, &self.variant, Bindings::new(views.collect()));
        memory
    }

    /// The bindings before the dispatch: data, poison, and guards after everything that is written.
    fn memory(&self) -> Vec<Vec<u32>> {
        let guarded = |mut words: Vec<u32>, n: usize| {
            words.resize(n + GUARD, POISON);
            words
        };
        let fill = |binding: &Binding| match binding {
            Binding::In(words) => words.clone(),
            Binding::Out(n, _) => guarded(Vec::new(), *n),
            Binding::InOut(words, _) => guarded(words.clone(), words.len()),
        };
        self.bindings.iter().map(fill).collect()
    }
}

impl Binding {
    fn words(&self) -> usize {
        match self {
            Self::In(words) | Self::InOut(words, _) => words.len(),
            Self::Out(n, _) => *n,
        }
    }

    fn tolerance(&self) -> Option<Tolerance> {
        match self {
            Self::In(_) => None,
            Self::Out(_, tolerance) | Self::InOut(_, tolerance) => Some(*tolerance),
        }
    }
}

fn compare(expected: &[u32], found: &[u32], binding: &Binding) -> std::result::Result<(), String> {
    let (words, tolerance) = (binding.words(), binding.tolerance().unwrap_or(Tolerance::EXACT));
    for (i, (e, f)) in expected.iter().zip(found).enumerate() {
        if i >= words {
            if *f != POISON {
                return Err(format!("guard word {} was overwritten", i - words));
            }
        } else if *e == POISON {
            return Err(format!("the twin never wrote element {i}"));
        } else if *f == POISON {
            return Err(format!("element {i} was never written"));
        } else if !tolerance.accepts(*e, *f) {
            let (e, f) = (f32::from_bits(*e), f32::from_bits(*f));
            return Err(format!("element {i} is {f:e} ({:#x}), not {e:e} ({:#x})", f.to_bits(), e.to_bits()));
        }
    }
    Ok(())
}
