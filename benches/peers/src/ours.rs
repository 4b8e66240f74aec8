//! bitsmith's side.

use bitsmith::kernel::group_quantize::{self, GroupQuantize};
use bitsmith::kernel::group_range::{self, GroupRange, Lanes};
use bitsmith::op::{self, Activations, DenseWeight, GroupWeight};
use bitsmith::{Device, PackedTensor, Packing, Quantization, RangeRule, Recorder, Rounding, Scheme, Tensor};

use crate::Outcome;
use crate::measure::{Effort, Peer};

/// How activations enter a product with a quantized weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Exact,
    Int8,
}

impl Precision {
    pub const ALL: [Self; 2] = [Self::Exact, Self::Int8];

    /// What it adds to the name of a peer.
    pub fn label(self) -> &'static str {
        match self {
            Self::Exact => "",
            Self::Int8 => " int8",
        }
    }

    fn product(self, recorder: &mut Recorder, x: &Activations, w: &GroupWeight) -> bitsmith::Result<Activations> {
        match self {
            Self::Exact => op::group(recorder, x, w),
            Self::Int8 => {
                let x = op::int8(recorder, x, op::int8_block(w.scheme().span(), w.cols()))?;
                op::group_int8(recorder, &x, w)
            }
        }
    }
}

/// The name of a product's peer.
pub fn name(scheme: Scheme, precision: Precision) -> String {
    format!("bitsmith {scheme}{}", precision.label())
}

/// Copies of a quantized weight.
pub struct Quantized {
    scheme: Scheme,
    copies: Vec<GroupWeight>,
}

impl Quantized {
    pub fn new(device: &Device, w: &Tensor<'_>, scheme: &str, effort: &Effort) -> Outcome<Self> {
        let scheme = scheme.parse()?;
        let (packed, _): (PackedTensor, _) =
            pollster::block_on(op::quantize(device, w, &Quantization::from(scheme), "weight"))?;
        let first = GroupWeight::upload(device, &packed)?;
        let copies = effort.copies(first.bytes());
        let copies = (0..copies).map(|_| GroupWeight::upload(device, &packed)).collect::<bitsmith::Result<_>>()?;
        Ok(Self { scheme, copies })
    }

    /// The product with `x`.
    pub fn peer<'a>(&'a self, device: &'a Device, x: &'a Activations, precision: Precision) -> Peer<'a> {
        let mut turns = self.copies.iter().cycle();
        Peer::new(name(self.scheme, precision), self.copies[0].bytes(), move |read| {
            let w = turns.next().ok_or("no copies")?;
            let mut recorder = Recorder::new(device);
            let y = precision.product(&mut recorder, x, w)?;
            recorder.submit()?;
            first_row(device, &y, read)
        })
    }
}

/// The product with a dense f32 weight.
pub fn dense<'a>(device: &'a Device, copies: &'a [DenseWeight], x: &'a Activations) -> Peer<'a> {
    let mut turns = copies.iter().cycle();
    Peer::new("bitsmith f32", copies[0].bytes(), move |read| {
        let w = turns.next().ok_or("no copies")?;
        let mut recorder = Recorder::new(device);
        let y = op::dense(&mut recorder, x, w)?;
        recorder.submit()?;
        first_row(device, &y, read)
    })
}

fn first_row(device: &Device, y: &Activations, read: bool) -> Outcome<Vec<f32>> {
    if !read {
        return Ok(Vec::new());
    }
    let mut all = pollster::block_on(y.read(device))?;
    all.truncate(y.cols);
    Ok(all)
}

/// Scales and codes of weights that lie on the device.
pub fn quantize_kernels<'a>(device: &'a Device, w: &'a [Tensor<'a>], scheme: Scheme) -> Outcome<Peer<'a>> {
    let (rows, cols, dtype) = (w[0].rows(), w[0].cols(), w[0].dtype());
    let u = |n: usize| u32::try_from(n);
    let groups = scheme.groups(rows, cols);
    let words_per_row = Packing::Rows.words(1, cols, scheme.bits());
    let (group, groups_per_row, bits) = (u(groups.size())?, u(groups.per_row())?, u32::from(scheme.bits().get()));
    let (rows_u, cols_u) = (u(rows)?, u(cols)?);
    let rule = RangeRule::default();
    let range = group_range::Params {
        rows: rows_u,
        cols: cols_u,
        group,
        groups_per_row,
        bits,
        symmetric: scheme.is_symmetric().into(),
        rule: rule.tag(),
        scale_type: scheme.scale_type() as u32,
    };
    let quantize = group_quantize::Params {
        rows: rows_u,
        cols: cols_u,
        group,
        groups_per_row,
        words_per_row: u(words_per_row)?,
        bits,
        min_code: rule.min_code().into(),
        rounding: Rounding::default().tag(),
        seed: 0,
        first_element: 0,
    };
    let weights = w.iter().map(|w| device.upload(w.bytes())).collect::<bitsmith::Result<Vec<_>>>()?;
    let mut turn = 0;
    Ok(Peer::new(format!("bitsmith {scheme}"), w[0].bytes().len(), move |_| {
        turn = (turn + 1) % weights.len();
        let mut rec = Recorder::new(device);
        let (scales, zeros) = (rec.alloc(groups.count() * 4)?, rec.alloc(groups.count() * 4)?);
        let codes = rec.alloc(rows * words_per_row * 4)?;
        let w = &weights[turn];
        rec.dispatch::<GroupRange>(&range, group_range::variant(dtype, Lanes::Few), &[w, &scales, &zeros])?;
        let variant = group_quantize::variant(dtype);
        rec.dispatch::<GroupQuantize>(&quantize, variant, &[w, &scales, &zeros, &codes])?;
        rec.submit()?;
        Ok(Vec::new())
    }))
}

/// All of `op::quantize`: upload, scales, codes, the error that this makes, and reading them back.
pub fn quantize_whole<'a>(device: &'a Device, w: &'a [Tensor<'a>], scheme: Scheme) -> Peer<'a> {
    let mut turns = w.iter().cycle();
    Peer::new(format!("bitsmith {scheme} with upload, error and read"), w[0].bytes().len(), move |_| {
        let w = turns.next().ok_or("no copies")?;
        pollster::block_on(op::quantize(device, w, &Quantization::from(scheme), "weight"))?;
        Ok(Vec::new())
    })
}
