//! A language model whose linear layers train with quantization in the loop.

use super::config::BitLinearConfig;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::op::LatentWeight;
use crate::scheme::SkipList;

/// Has the linear layers of all blocks of a model train with quantization in the loop: their weights become f32 on the
/// device, and what the model computes from then on sees them, and the activations that meet them, as they come back from
/// quantization. Biases stay as they are, whatever the config says. Layers that `skip` names are left alone. Gives the paths
/// of the layers that were swapped; [`Linear::latent`](crate::model::Linear::latent) holds what trains,
/// [`Linear::deploy`](crate::model::Linear::deploy) packs it.
///
/// ```
/// use bitsmith::nn::{BitLinearConfig, swap_linears};
/// use bitsmith::scheme::SkipList;
/// use bitsmith::{Device, model::Model};
/// let mut model = Model::open("examples/tiny-llama".as_ref(), &Device::cpu())?;
/// let mut skip = SkipList::new(&["down_proj".into()])?;
/// let swapped = pollster::block_on(swap_linears(&mut model, &BitLinearConfig::default(), &mut skip))?;
/// assert!(swapped.contains(&"model.layers.0.self_attn.q_proj".to_owned()));
/// let trains = model.linears().filter(|linear| linear.latent().is_some()).count();
/// assert_eq!(trains, swapped.len());
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Unsupported`] for a layer that is quantized already, [`Error::Config`] for a config that cannot be, and those of
/// the device.
pub async fn swap_linears(model: &mut Model, config: &BitLinearConfig, skip: &mut SkipList) -> Result<Vec<String>> {
    let device = model.device().clone();
    let mut swapped = Vec::new();
    for linear in model.linears_mut().filter(|linear| !skip.matches(linear.path())) {
        let Some(dense) = linear.dense() else {
            let what = format!("training {}, which is quantized already", linear.path());
            return Err(Error::Unsupported { what, remedy: "give the original model".into() });
        };
        let tensor = dense.read(&device).await?;
        linear.set_latent(LatentWeight::upload(&device, &tensor, config.scheme(), config.input())?)?;
        swapped.push(linear.path().to_owned());
    }
    Ok(swapped)
}
