//! A model with changed layers, measured against the original.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::Measured;
use crate::calib::CalibrationDataset;
use crate::device::{Buffer, Device, Recorder};
use crate::error::{Error, Result};
use crate::model::{LoadedBlock, StreamedModel};
use crate::op::{self, Activations, GroupWeight};
use crate::pack::PackedTensor;

/// Tokens put through a block at once, about.
const BATCH_TOKENS: usize = 2048;
/// Bytes of logits held at once, of each model.
const LOGITS_BYTES: usize = 64 << 20;
/// Rows of a part of the logits are a multiple of this, so that each part starts where a binding may.
const PART_ROWS: usize = 64;
/// Marks the last token of a sequence, whose next one is not known.
const UNSCORED: u32 = u32::MAX;

/// Lets a model read token sequences, with layers or blocks changed, and measures how far it is from the original. One
/// block at a time is on the device; of the original its last activations are held, one row a token.
///
/// ```
/// use std::collections::BTreeMap;
/// use bitsmith::calib::CalibrationDataset;
/// use bitsmith::search::GradualEvaluator;
/// use bitsmith::{Device, PackedTensor, model::StreamedModel, quant};
/// # pollster::block_on(async {
/// let (device, folder) = (Device::cpu(), "examples/tiny-llama".as_ref());
/// let model = StreamedModel::open(folder, &device)?;
/// let data = CalibrationDataset::from_sequences(vec![vec![1, 50, 60, 70, 80], vec![1, 90, 95, 99, 97]])?;
/// let evaluator = GradualEvaluator::new(model, &data).await?;
/// assert_eq!(evaluator.original().kl, 0.0);
///
/// // One layer in 3 bits; what lies in front of its block is computed once.
/// let path = "model.layers.2.mlp.up_proj";
/// let block = evaluator.model().block(2)?;
/// let linear = block.linears().into_iter().flatten().find(|linear| linear.path() == path).expect("it is there");
/// let weight = linear.original()?.read(&device).await?;
/// let codes = quant::quantize(&device, &weight, "w3g32a".parse::<bitsmith::Scheme>()?).await?;
/// let changed = BTreeMap::from([(path.to_owned(), PackedTensor::pack(&codes))]);
/// let mut prefix = evaluator.start()?;
/// while prefix.next() < 2 {
///     prefix = evaluator.advance(&prefix, |_, _| Ok(()))?;
/// }
/// let from_there = evaluator.measure_layers(&prefix, &changed).await?;
/// assert!(from_there.kl > 0.0 && from_there.kl < 0.1);
/// assert_eq!(from_there, evaluator.measure_layers(&evaluator.start()?, &changed).await?);
///
/// // A block that gives what it is given.
/// let disabled = evaluator.measure(&prefix.skipped(), |_, _| Ok(())).await?;
/// assert!(disabled.kl > from_there.kl);
/// # Ok::<(), bitsmith::Error>(())
/// # })?;
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct GradualEvaluator {
    model: Rc<StreamedModel>,
    batches: Vec<Batch>,
    sequences: usize,
    original: Measured,
}

/// Sequences that go through a block at once.
#[derive(Debug)]
struct Batch {
    ids: Vec<u32>,
    sequences: usize,
    /// What the last block of the original gives.
    last: Activations,
    /// What the original loses at each scored token.
    nll: Vec<f32>,
}

/// Activations in front of a block, whatever was made of the blocks before it. Copies share the memory.
#[derive(Clone, Debug)]
pub struct Prefix {
    next: usize,
    batches: Vec<Activations>,
}

impl Prefix {
    /// The block that they go into.
    pub fn next(&self) -> usize {
        self.next
    }

    /// The same in front of the block after the next one: as if the next gave what it is given.
    #[must_use]
    pub fn skipped(&self) -> Self {
        Self { next: self.next + 1, batches: self.batches.clone() }
    }
}

/// Losses and divergences that are still on the device.
struct Pending {
    rows: usize,
    nll: Buffer,
    kl: Option<Buffer>,
}

impl GradualEvaluator {
    /// Lets the original read.
    ///
    /// # Errors
    /// [`Error::Config`] for sequences of one token, [`Error::Shape`] for tokens that the model does not know,
    /// [`Error::NotFinite`] for weights that are no numbers; those of reading the model and of the device.
    pub async fn new(model: impl Into<Rc<StreamedModel>>, data: &CalibrationDataset) -> Result<Self> {
        let model = model.into();
        if data.seq_len() < 2 {
            return Err(Error::config("seq_len", "1 token predicts nothing; take at least 2"));
        }
        let at_once = (BATCH_TOKENS / data.seq_len()).max(1);
        let sequences = data.sequences().len();
        let mut this = Self { model, batches: Vec::new(), sequences, original: Measured::of(&[], &[], &[], 1) };
        let ids: Vec<_> = data.sequences().chunks(at_once).map(|some| (some.len(), some.concat())).collect();
        let mut prefix = Prefix { next: 0, batches: Vec::with_capacity(ids.len()) };
        for (sequences, ids) in &ids {
            prefix.batches.push(this.embedded(ids, *sequences)?);
        }
        while prefix.next < this.model.blocks() {
            let sequences = ids.iter().map(|(sequences, _)| *sequences);
            prefix = this.through(&prefix, sequences, &mut |_, _| Ok(()))?;
        }
        let mut all = Vec::new();
        for ((sequences, ids), last) in ids.into_iter().zip(prefix.batches) {
            let mut batch = Batch { ids, sequences, last, nll: Vec::new() };
            let (nll, _) = this.read(&batch, this.losses(&batch, None)?).await?;
            all.extend_from_slice(&nll);
            batch.nll = nll;
            this.batches.push(batch);
        }
        if all.iter().any(|nll| !nll.is_finite()) {
            return Err(this.model.no_number("a token of the text a probability"));
        }
        this.original = Measured::of(&all, &all, &vec![0.0; all.len()], sequences);
        Ok(this)
    }

    /// The original.
    pub fn model(&self) -> &StreamedModel {
        &self.model
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        self.model.device()
    }

    /// The original, measured against itself.
    pub fn original(&self) -> &Measured {
        &self.original
    }

    /// Sequences that are read.
    pub fn sequences(&self) -> usize {
        self.sequences
    }

    /// Tokens that are predicted in a measurement.
    pub fn tokens(&self) -> usize {
        self.batches.iter().map(|batch| batch.nll.len()).sum()
    }

    /// What goes into the first block.
    ///
    /// # Errors
    /// Those of the device.
    pub fn start(&self) -> Result<Prefix> {
        let batches = self.batches.iter().map(|batch| self.embedded(&batch.ids, batch.sequences));
        Ok(Prefix { next: 0, batches: batches.collect::<Result<_>>()? })
    }

    /// Goes through the next block as `change` leaves it, which is given its number and the original on the device. After
    /// the last block, nothing changes.
    ///
    /// # Errors
    /// Those of `change`, of reading the model and of the device.
    pub fn advance(
        &self,
        prefix: &Prefix,
        mut change: impl FnMut(usize, &mut LoadedBlock) -> Result<()>,
    ) -> Result<Prefix> {
        self.through(prefix, self.batches.iter().map(|batch| batch.sequences), &mut change)
    }

    /// Measures the model from the next block on as `change` leaves each block; what lies before is in the prefix.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub async fn measure(
        &self,
        prefix: &Prefix,
        mut change: impl FnMut(usize, &mut LoadedBlock) -> Result<()>,
    ) -> Result<Measured> {
        let mut prefix = prefix.clone();
        while prefix.next < self.model.blocks() {
            prefix = self.advance(&prefix, &mut change)?;
        }
        let (mut nll, mut kl) = (Vec::new(), Vec::new());
        for (batch, last) in self.batches.iter().zip(&prefix.batches) {
            let (batch_nll, batch_kl) = self.read(batch, self.losses(batch, Some(last))?).await?;
            nll.extend(batch_nll);
            kl.extend(batch_kl);
        }
        let original: Vec<f32> = self.batches.iter().flat_map(|batch| batch.nll.iter().copied()).collect();
        Ok(Measured::of(&nll, &original, &kl, self.sequences))
    }

    /// [`Self::measure`] with the codes of some layers, by module path, in place of their weights.
    ///
    /// # Errors
    /// As [`Self::measure`], and [`Error::Shape`] for codes that do not fit their layer.
    pub async fn measure_layers(&self, prefix: &Prefix, layers: &BTreeMap<String, PackedTensor>) -> Result<Measured> {
        let device = self.device();
        self.measure(prefix, |_, block| swap_in(device, block, |path| layers.get(path))).await
    }

    fn embedded(&self, ids: &[u32], sequences: usize) -> Result<Activations> {
        let cache = self.model.cache(sequences, ids.len() / sequences)?;
        let mut rec = Recorder::new(self.device());
        let x = self.model.embed(&mut rec, ids, &cache)?;
        rec.submit()?;
        Ok(x)
    }

    fn through(
        &self,
        prefix: &Prefix,
        sequences: impl Iterator<Item = usize>,
        change: &mut dyn FnMut(usize, &mut LoadedBlock) -> Result<()>,
    ) -> Result<Prefix> {
        if prefix.next >= self.model.blocks() {
            return Ok(prefix.clone());
        }
        let mut block = self.model.block(prefix.next)?;
        change(prefix.next, &mut block)?;
        let mut batches = Vec::with_capacity(prefix.batches.len());
        let mut cache = None;
        for (x, sequences) in prefix.batches.iter().zip(sequences) {
            let cache = match &mut cache {
                Some((of, cache)) if *of == sequences => cache,
                other => &mut other.insert((sequences, self.model.cache(sequences, x.rows / sequences)?)).1,
            };
            let mut rec = Recorder::new(self.device());
            batches.push(block.forward(&mut rec, x.clone(), cache)?);
            rec.submit()?;
        }
        Ok(Prefix { next: prefix.next + 1, batches })
    }

    /// Losses behind the last block: of the original, or of what the changed blocks gave, and how far that is from the
    /// original.
    fn losses(&self, batch: &Batch, changed: Option<&Activations>) -> Result<Vec<Pending>> {
        let length = batch.ids.len() / batch.sequences;
        let next = |sequence: &[u32]| sequence[1..].iter().copied().chain([UNSCORED]).collect::<Vec<_>>();
        let targets: Vec<u32> = batch.ids.chunks(length).flat_map(next).collect();
        let rows = LOGITS_BYTES / (4 * self.model.config().vocab_size);
        let rows = (rows / PART_ROWS).max(1) * PART_ROWS;
        let mut pending = Vec::new();
        for first in (0..targets.len()).step_by(rows) {
            let part = first..targets.len().min(first + rows);
            let mut rec = Recorder::new(self.device());
            let original = self.model.logits(&mut rec, batch.last.part(part.clone())?)?;
            let (logits, kl) = match changed {
                Some(changed) => {
                    let logits = self.model.logits(&mut rec, changed.part(part.clone())?)?;
                    let kl = op::kl(&mut rec, &original, &logits)?;
                    (logits, Some(kl))
                }
                None => (original, None),
            };
            let nll = op::nll(&mut rec, &logits, &targets[part.clone()])?;
            rec.submit()?;
            pending.push(Pending { rows: part.len(), nll, kl });
        }
        Ok(pending)
    }

    /// Losses and divergences of the scored tokens of a batch.
    async fn read(&self, batch: &Batch, pending: Vec<Pending>) -> Result<(Vec<f32>, Vec<f32>)> {
        let length = batch.ids.len() / batch.sequences;
        let (mut all, mut all_kl, mut row) = (Vec::new(), Vec::new(), 0);
        for Pending { rows, nll, kl } in pending {
            let nll: Vec<f32> = self.device().read(&nll).await?;
            let kl: Vec<f32> = match kl {
                Some(kl) => self.device().read(&kl).await?,
                None => vec![0.0; 3 * rows],
            };
            for (nll, [kl, ..]) in nll[..rows].iter().zip(kl.as_chunks::<3>().0) {
                row += 1;
                if row % length != 0 {
                    all.push(*nll);
                    all_kl.push(*kl);
                }
            }
        }
        Ok((all, all_kl))
    }
}

/// Lets the layers of a block compute with codes, where `find` has any for their module path.
///
/// # Errors
/// [`Error::Shape`] for codes that do not fit their layer, and those of the device.
pub fn swap_in<'c>(
    device: &Device,
    block: &mut LoadedBlock,
    find: impl Fn(&str) -> Option<&'c PackedTensor>,
) -> Result<()> {
    for linear in block.linears_mut().into_iter().flatten() {
        if let Some(codes) = find(linear.path()) {
            let rows = codes.rows_in(linear.rows())?;
            linear.set_group(GroupWeight::upload(device, &rows)?)?;
        }
    }
    Ok(())
}
