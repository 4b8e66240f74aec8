//! A language model with its linear layers swapped.

use bitsmith::model::Model;
use bitsmith::nn::{BitLinearConfig, swap_linears};
use bitsmith::op::{self, AdamW, AdamWConfig};
use bitsmith::scheme::SkipList;
use bitsmith::{Device, Recorder, Result};

/// Logits of a training add up f32 products, those of a deployed model integers: through two blocks.
const SUMS: f32 = 1e-3;
const IDS: [u32; 6] = [1, 50, 60, 70, 80, 90];

pub fn trains() -> Result<()> {
    let device = Device::cpu();
    let mut model = Model::open("examples/tiny-llama".as_ref(), &device)?;
    let exact = logits(&model)?;
    let swapped = pollster::block_on(swap_linears(&mut model, &BitLinearConfig::default(), &mut SkipList::default()))?;
    assert_eq!(swapped.len(), model.linears().count());
    assert!(pollster::block_on(swap_linears(&mut model, &BitLinearConfig::float(), &mut SkipList::default())).is_err());
    let before = logits(&model)?;
    assert_ne!(before, exact);

    let latents: Vec<_> =
        model.linears().filter_map(|linear| linear.latent()).map(|latent| latent.values().buffer.clone()).collect();
    let adamw = latents.iter().map(|w| AdamW::new(&device, w.bytes() / 4, AdamWConfig::default()));
    let adamw = adamw.collect::<Result<Vec<_>>>()?;
    let mut losses = Vec::new();
    for step in 0..8 {
        let mut rec = Recorder::new(&device);
        latents.iter().for_each(|weight| rec.watch(weight));
        let mut cache = model.cache(1, IDS.len())?;
        let hidden = model.hidden(&mut rec, &IDS, &mut cache)?;
        let logits = model.logits(&mut rec, &hidden)?;
        let targets: Vec<u32> = IDS[1..].iter().copied().chain([u32::MAX]).collect();
        let loss = op::cross_entropy(&mut rec, &logits, &targets, IDS.len() - 1)?;
        let gradients = op::backward(&mut rec, &logits, &loss.gradient)?;
        for (weight, adamw) in latents.iter().zip(&adamw) {
            let gradient = gradients.of(weight).expect("every weight moves the loss");
            adamw.step(&mut rec, weight, gradient, 2e-3, step)?;
        }
        losses.push(pollster::block_on(rec.submit_and_read::<f32>(&loss.losses.buffer))?.iter().sum::<f32>());
    }
    assert!(losses[7] < 0.9 * losses[0], "{losses:?}");

    let trained = logits(&model)?;
    let mut rec = Recorder::new(&device);
    model.linears_mut().try_for_each(|linear| linear.deploy(&mut rec))?;
    rec.submit()?;
    assert!(model.linears().all(|linear| linear.latent().is_none()));
    for (a, b) in logits(&model)?.iter().zip(&trained) {
        assert!((a - b).abs() <= SUMS * b.abs().max(1.0), "{a} deployed, {b} trained");
    }
    Ok(())
}

fn logits(model: &Model) -> Result<Vec<f32>> {
    let mut rec = Recorder::new(model.device());
    let mut cache = model.cache(1, IDS.len())?;
    let hidden = model.hidden(&mut rec, &IDS, &mut cache)?;
    let logits = model.logits(&mut rec, &hidden)?;
    rec.submit()?;
    pollster::block_on(logits.read(model.device()))
}
