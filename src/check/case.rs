//! One dispatch of one kernel with its data.

use super::compare::Tolerance;
use crate::device::{Buffer, Device, Recorder};
use crate::dispatch::{Access, Bindings, ErasedRun, Kernel, KernelSpec, Variant, View};
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
    /// The parameters of the twin, if it is to compute a part of the result only.
    sample: Option<Vec<u8>>,
    bindings: Vec<Binding>,
}

/// Outputs are filled with this NaN: what survives was never written.
const POISON: u32 = 0x7fc0_dead;
/// Words on either side of each output that must stay poisoned. Those behind it are inside the binding: a shader's write
/// past the end of a binding would be dropped in silence. Those before it are in front of the binding, which starts where a
/// slice may: 256 bytes into its buffer.
const GUARD: usize = 64;

impl Case {
    /// A case of a kernel. Bindings follow its contract.
    pub fn new<K: Kernel>(variant: Variant, size: String, params: &K::Params, bindings: Vec<Binding>) -> Self {
        let bytes = bindings.iter().map(|b| 4 * b.words()).sum();
        let params = bytemuck::bytes_of(params).to_vec();
        Self { kernel: K::SPEC, variant, size, params, sample: None, bindings, bytes, operations: 0 }
    }

    /// The same case with its number of operations.
    #[must_use]
    pub fn operations(self, operations: usize) -> Self {
        Self { operations, ..self }
    }

    /// The same case, too large for the twin: the twin gets changed parameters, under which it leaves a part of the
    /// result unwritten, and only the part it writes is compared. For results that are [`Binding::Out`].
    #[must_use]
    pub(super) fn sample<K: Kernel>(mut self, change: impl FnOnce(&mut K::Params)) -> Self {
        let mut params = bytemuck::pod_read_unaligned(&self.params);
        change(&mut params);
        self.sample = Some(bytemuck::bytes_of(&params).to_vec());
        self
    }

    /// `kernel/variant/size`.
    pub fn name(&self) -> String {
        format!("{}/{}/{}", self.kernel.name, self.variant, self.size)
    }

    /// Whether cards of compute capability 9.x run it by an entry of their own.
    pub fn takes_hopper(&self) -> bool {
        (self.kernel.cuda_hopper)(&self.params, &self.variant).is_some()
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
            case.verify(device, &buffers).await?;
        }
        Ok(())
    }

    /// Compares with the twin's what a dispatch has left in buffers from [`Self::upload`].
    pub async fn verify(&self, device: &Device, buffers: &[Buffer]) -> Result<()> {
        let found = self.results(device, buffers).await?;
        self.compare(device, &self.twin(), &found, self.sample.is_some())
    }

    /// [`Self::check`] for a case that is too large for the twin: a part of every output is compared with the twin's,
    /// and all of it with the fast CPU implementation's, if there is one.
    pub async fn check_large(&self, device: &Device) -> Result<()> {
        let mut recorder = Recorder::new(device);
        let buffers = self.record(&mut recorder)?;
        recorder.submit()?;
        let found = self.results(device, &buffers).await?;
        self.compare(device, &self.twin(), &found, self.sample.is_some())?;
        match self.kernel.fast {
            Some(fast) => self.compare(device, &self.run(fast, &self.params), &found, false),
            None => Ok(()),
        }
    }

    /// What a device has left in each binding that is written; nothing for the others.
    async fn results(&self, device: &Device, buffers: &[Buffer]) -> Result<Vec<Vec<u32>>> {
        let written = |i: &usize| self.bindings[*i].tolerance().is_some();
        let results: Vec<usize> = (0..buffers.len()).filter(written).collect();
        let found = device.read_all(&results.iter().map(|i| &buffers[*i]).collect::<Vec<_>>()).await?;
        let mut words = vec![Vec::new(); buffers.len()];
        for (i, found) in results.into_iter().zip(found) {
            words[i] = bytemuck::pod_collect_to_vec(&found);
        }
        Ok(words)
    }

    /// Compares what is written. Of a sample, what the twin left unwritten counts for nothing.
    fn compare(&self, device: &Device, expected: &[Vec<u32>], found: &[Vec<u32>], sample: bool) -> Result<()> {
        for (i, binding) in self.bindings.iter().enumerate().filter(|(_, b)| b.tolerance().is_some()) {
            compare(&expected[i], &found[i], binding, sample).map_err(|detail| Error::Device {
                device: format!("{} ({})", device.caps().name, device.caps().driver),
                detail: format!("{} computes wrongly: binding {i}, {detail}", self.name()),
            })?;
        }
        Ok(())
    }

    /// Appends the dispatch to a recording, with buffers of its own.
    pub fn record(&self, recorder: &mut Recorder) -> Result<Vec<Buffer>> {
        let buffers = self.upload(recorder.device())?;
        self.dispatch(recorder, &buffers)?;
        Ok(buffers)
    }

    /// The memory of the bindings on a device, guards included.
    pub fn upload(&self, device: &Device) -> Result<Vec<Buffer>> {
        self.memory().iter().map(|words| device.upload(words)).collect()
    }

    /// Appends the dispatch to a recording, with buffers from [`Self::upload`].
    pub fn dispatch(&self, recorder: &mut Recorder, buffers: &[Buffer]) -> Result<()> {
        let bound = self.bindings.iter().zip(buffers).map(|(binding, buffer)| match binding.front() {
            0 => Ok(buffer.clone()),
            front => buffer.slice(4 * front, buffer.bytes() - 4 * front),
        });
        let bound = bound.collect::<Result<Vec<_>>>()?;
        let bound: Vec<_> = bound.iter().collect();
        recorder.dispatch_spec(self.kernel, self.variant.clone(), &self.params, &bound)
    }

    /// What the plain twin leaves in the memory of each binding.
    pub fn twin(&self) -> Vec<Vec<u32>> {
        self.run(self.kernel.run, self.sample.as_ref().unwrap_or(&self.params))
    }

    /// What the plain twin leaves in one binding, without the guards around it.
    pub fn result(&self, binding: usize) -> Vec<u32> {
        let (front, words) = (self.bindings[binding].front(), self.bindings[binding].words());
        self.twin().swap_remove(binding)[front..][..words].to_vec()
    }

    fn run(&self, run: ErasedRun, params: &[u8]) -> Vec<Vec<u32>> {
        let mut memory = self.memory();
        let bindings = memory.iter_mut().zip(&self.bindings).zip(self.kernel.access);
        let views = bindings.map(|((words, binding), access)| match access {
            Access::Read => View::Read(&words[binding.front()..]),
            Access::Write | Access::ReadWrite => View::Write(&mut words[binding.front()..]),
        });
        run(params, &self.variant, Bindings::new(views));
        memory
    }

    /// The bytes of the parameters, and the words of each binding before the dispatch, without guards: for who runs the
    /// kernel by other means than a device.
    pub fn data(&self) -> (&[u8], Vec<Vec<u32>>) {
        let words = |binding: &Binding| match binding {
            Binding::In(words) | Binding::InOut(words, _) => words.clone(),
            Binding::Out(n, _) => vec![POISON; *n],
        };
        (&self.params, self.bindings.iter().map(words).collect())
    }

    /// The memory of the bindings before the dispatch: data, poison, and guards around everything that is written.
    fn memory(&self) -> Vec<Vec<u32>> {
        let fill = |binding: &Binding| match binding {
            Binding::In(words) => words.clone(),
            Binding::Out(n, _) => vec![POISON; GUARD + n + GUARD],
            Binding::InOut(words, _) => [&[POISON; GUARD], &words[..], &[POISON; GUARD]].concat(),
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

    /// Words of its memory in front of it.
    fn front(&self) -> usize {
        if self.tolerance().is_some() { GUARD } else { 0 }
    }

    fn tolerance(&self) -> Option<Tolerance> {
        match self {
            Self::In(_) => None,
            Self::Out(_, tolerance) | Self::InOut(_, tolerance) => Some(*tolerance),
        }
    }
}

/// Compares the memory of a binding, guards included.
fn compare(expected: &[u32], found: &[u32], binding: &Binding, sample: bool) -> std::result::Result<(), String> {
    let (words, tolerance) = (binding.words(), binding.tolerance().unwrap_or(Tolerance::EXACT));
    let touched = |guard: &[u32]| guard.iter().position(|word| *word != POISON);
    for (whose, memory) in [("the CPU's ", expected), ("", found)] {
        if let Some(i) = touched(&memory[..GUARD]) {
            return Err(format!("{whose}guard word {} before it was overwritten", GUARD - i));
        }
        if let Some(i) = touched(&memory[GUARD + words..]) {
            return Err(format!("{whose}guard word {i} behind it was overwritten"));
        }
    }
    for (i, (e, f)) in expected[GUARD..].iter().zip(&found[GUARD..]).take(words).enumerate() {
        if *f == POISON {
            return Err(format!("element {i} was never written"));
        } else if *e == POISON {
            if !sample {
                return Err(format!("the twin never wrote element {i}"));
            }
        } else if !tolerance.accepts(*e, *f) {
            let (e, f) = (f32::from_bits(*e), f32::from_bits(*f));
            return Err(format!("element {i} is {f:e} ({:#x}), not {e:e} ({:#x})", f.to_bits(), e.to_bits()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded(words: &[u32]) -> Vec<u32> {
        [&[POISON; GUARD], words, &[POISON; GUARD]].concat()
    }

    #[test]
    fn of_a_sample_only_what_the_twin_left_unwritten_is_free() {
        let (twin, out) = (guarded(&[1, POISON]), Binding::Out(2, Tolerance::EXACT));
        let accepts = |found: &[u32], sample| compare(&twin, &guarded(found), &out, sample).is_ok();
        assert!(accepts(&[1, 7], true));
        assert!(!accepts(&[1, 7], false));
        assert!(!accepts(&[2, 7], true));
        assert!(!accepts(&[1, POISON], true));
    }

    #[test]
    fn a_guard_that_was_touched_is_named() {
        let (right, out) = (guarded(&[1, 2]), Binding::Out(2, Tolerance::EXACT));
        for (at, words) in [
            (0, "guard word 64 before it"),
            (GUARD - 1, "guard word 1 before it"),
            (GUARD + 2, "guard word 0 behind it"),
            (2 * GUARD + 1, "guard word 63 behind it"),
        ] {
            let mut wrong = right.clone();
            wrong[at] = 0;
            for sample in [false, true] {
                let error = compare(&right, &wrong, &out, sample).unwrap_err();
                assert!(error.starts_with(words), "{error}");
                assert!(compare(&wrong, &right, &out, sample).unwrap_err().starts_with("the CPU's guard"));
            }
        }
    }
}
