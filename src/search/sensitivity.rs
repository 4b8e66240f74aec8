//! What each layer would cost in each scheme.

use super::facts::State;
use super::ladder::Ladder;
use super::stage::Stage;
use super::trials::{On, Trials};
use super::{Candidate, LayerCandidates, MixedPrecisionConfig};
use crate::error::{Error, Result};
use crate::export::{CodesFrom, ImportanceRecord};
use crate::op::{Quantization, importance, quantize_searched};
use crate::progress::Progress;
use crate::quant::{Footprint, SizedLayer};
use crate::scheme::{Bits, Plan, RangeRule, Rounding, Scheme, Span};
use crate::tensor::Tensor;

/// Widths up to this are measured with learned codes: rounding to nearest says little of them.
const LEARNED_BITS: u8 = 4;
/// Of the steps of learned rounding, this share is taken for a measurement.
const SHARE_OF_STEPS: u32 = 4;
/// The size of the groups that are measured, about; others are reckoned from the error of their weights.
const MEASURED_GROUP: usize = 64;
/// The power of the errors that losses follow: training makes up for part of what coarser groups cost.
const FOLLOWED: f64 = 0.7;
/// Losses below are not told from each other.
const LEAST_LOSS: f64 = 1e-12;

/// Measures each layer alone, all others as in the original, at each width of the ladder: the divergence from the
/// original in nats a token. Group sizes follow by the squared errors of the weights.
pub(super) async fn sensitivity(
    trials: &mut Trials,
    config: &MixedPrecisionConfig,
    footprint: &Footprint<'_>,
    progress: &mut dyn Progress,
) -> Result<Vec<LayerCandidates>> {
    let ladders = ladders(config)?;
    let mut schemes = Vec::new();
    for layer in footprint.layers() {
        schemes.push(candidates(&ladders, footprint, layer)?);
    }
    let bits = config.bits_ladder.bits().to_vec();
    let mut stage = Stage::begin(progress, "measuring layers", trials.blocks.len() * bits.len());
    let mut found: Vec<LayerCandidates> = Vec::new();
    for block in 0..trials.blocks.len() {
        let own: Vec<usize> = trials.blocks[block].iter().filter_map(|path| index(footprint, path)).collect();
        let errors = errors(trials, block, footprint, &schemes).await?;
        let mut losses = vec![Vec::new(); own.len()];
        for bits in &bits {
            let plan: Plan = own
                .iter()
                .filter_map(|layer| Some((footprint.layers()[*layer].path.clone(), measured(&schemes[*layer], *bits)?)))
                .collect();
            let learned = bits.get() <= LEARNED_BITS && config.learned_iters > 0;
            let (from, iters) = match learned {
                true => (CodesFrom::Learned, (config.learned_iters / SHARE_OF_STEPS).max(1)),
                false => (CodesFrom::Searched, 0),
            };
            let codes = trials.codes(block, &plan, &State::new(), from, iters, &mut stage).await?;
            for (place, layer) in own.iter().enumerate() {
                let path = &footprint.layers()[*layer].path;
                let Some(made) = codes.get(path) else { continue };
                let alone = State::from([(path.clone(), made.clone())]);
                let loss = trials.measure(On::Decide, &alone, block, &stage).await?.kl.max(LEAST_LOSS);
                losses[place].push((made.scheme, loss));
            }
            stage.piece(&format!("block {} of {}, {bits} bits", block + 1, trials.blocks.len()));
        }
        for (place, layer) in own.iter().enumerate() {
            let sized = &footprint.layers()[*layer];
            let error = |scheme: Scheme| {
                let all = schemes[*layer].iter().zip(&errors[place]);
                all.filter(|(other, _)| **other == scheme).map(|(_, error)| error.max(f64::MIN_POSITIVE)).next()
            };
            let loss = |scheme: Scheme| {
                let (of, loss) = losses[place].iter().find(|(of, _)| of.bits() == scheme.bits())?;
                Some(loss * (error(scheme)? / error(*of)?).powf(FOLLOWED))
            };
            let candidate = |scheme: &Scheme| {
                let (bytes, loss) = (footprint.bytes(sized, *scheme)?, loss(*scheme)?);
                Some(Candidate { scheme: *scheme, bytes, loss })
            };
            let candidates = schemes[*layer].iter().filter_map(candidate).collect();
            found.push(LayerCandidates { path: sized.path.clone(), candidates });
        }
    }
    stage.finish();
    Ok(found)
}

fn index(footprint: &Footprint<'_>, path: &str) -> Option<usize> {
    footprint.layers().iter().position(|layer| layer.path == path)
}

/// With zero points and without, where they are allowed.
fn ladders(config: &MixedPrecisionConfig) -> Result<Vec<Ladder>> {
    let mut ladders = vec![config.ladder()?];
    if config.asymmetric {
        ladders.push(MixedPrecisionConfig { asymmetric: false, ..config.clone() }.ladder()?);
    }
    Ok(ladders)
}

/// The schemes that a layer can get in the format.
fn candidates(ladders: &[Ladder], footprint: &Footprint<'_>, layer: &SizedLayer) -> Result<Vec<Scheme>> {
    let mut all: Vec<Scheme> = Vec::new();
    for scheme in ladders.iter().flat_map(|ladder| ladder.for_columns(layer.cols)) {
        if footprint.bytes(layer, scheme).is_some() && !all.contains(&scheme) {
            all.push(scheme);
        }
    }
    if all.is_empty() {
        let what = format!("{} in any scheme of the ladder, by the format", layer.path);
        return Err(Error::Unsupported { what, remedy: "take other --bits-ladder or group sizes".into() });
    }
    Ok(all)
}

/// The scheme of this width that is measured.
fn measured(schemes: &[Scheme], bits: Bits) -> Option<Scheme> {
    let distance = |scheme: &Scheme| match scheme.span() {
        Span::Group(size) => usize::from(size).abs_diff(MEASURED_GROUP),
        Span::Channel | Span::Tensor => usize::MAX,
    };
    // Zero points matter with few bits.
    let usual = |scheme: &Scheme| scheme.is_symmetric() == (bits.get() > 3);
    let of_width = schemes.iter().copied().filter(|scheme| scheme.bits() == bits);
    of_width.min_by_key(|scheme| (!usual(scheme), distance(scheme)))
}

/// The mean squared error of each layer of a block in each of its schemes, scales searched.
async fn errors(
    trials: &mut Trials,
    block: usize,
    footprint: &Footprint<'_>,
    schemes: &[Vec<Scheme>],
) -> Result<Vec<Vec<f64>>> {
    let mut all = Vec::new();
    for path in trials.blocks[block].clone() {
        let Some(layer) = index(footprint, &path) else { continue };
        let key =
            format!("errors {path} {}", schemes[layer].iter().map(Scheme::to_string).collect::<Vec<_>>().join(" "));
        if let Some(known) = trials.facts.numbers(&key) {
            all.push(known);
            continue;
        }
        let device = trials.model().device().clone();
        let loaded = trials.model().block(block)?;
        let mut sums = vec![0.0; schemes[layer].len()];
        for linear in loaded.linears().into_iter().flatten().filter(|linear| linear.path() == path) {
            let weight: Tensor<'_> = linear.original()?.read(&device).await?;
            let alike = importance(&device, &vec![1.0; weight.cols()])?;
            for (sum, scheme) in sums.iter_mut().zip(&schemes[layer]) {
                let quantization = Quantization {
                    scheme: *scheme,
                    range: RangeRule::default(),
                    rounding: Rounding::default(),
                    seed: 0,
                };
                let (_, error) = quantize_searched(&device, &weight, &quantization, &alike, &path).await?;
                *sum += error.mse() * (weight.rows() * weight.cols()) as f64;
            }
        }
        trials.facts.keep_numbers(key, sums.clone())?;
        all.push(sums);
    }
    Ok(all)
}

/// The losses that were measured, as importance by width.
pub(super) fn importance_of(layers: &[LayerCandidates], config: &MixedPrecisionConfig) -> Vec<ImportanceRecord> {
    let of = |bits: &Bits| {
        let value = |layer: &LayerCandidates| {
            let schemes: Vec<Scheme> = layer.candidates.iter().map(|candidate| candidate.scheme).collect();
            let scheme = measured(&schemes, *bits)?;
            let candidate = layer.candidates.iter().find(|candidate| candidate.scheme == scheme)?;
            Some((layer.path.clone(), candidate.loss))
        };
        let values = layers.iter().filter_map(value).collect();
        ImportanceRecord { measure: format!("alone in {bits} bits"), unit: "KL, nats a token".into(), values }
    };
    config.bits_ladder.bits().iter().map(of).filter(|record| !record.values.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_group_size_of_each_width_is_measured() {
        let schemes: Vec<Scheme> =
            ["w4g32s", "w4g64a", "w4g128s", "w2g64s", "w2g32a"].map(|text| text.parse().expect("a scheme")).to_vec();
        let of = |bits| measured(&schemes, Bits::new(bits).expect("a width")).map(|scheme| scheme.to_string());
        assert_eq!((of(4).as_deref(), of(2).as_deref(), of(8)), (Some("w4g32s"), Some("w2g32a"), None));
    }
}
