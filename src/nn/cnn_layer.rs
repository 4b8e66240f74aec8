//! The layers of a convolutional network, before and after it is deployed.

use std::collections::HashSet;

use super::batch_norm::BatchNorm;
use super::cnn_config::{BitCnnConfig, CnnLayer};
use super::conv::ConvShape;
use super::pass::Pass;
use super::source::Maker;
use crate::activation::Activation;
use crate::device::{Device, Recorder};
use crate::error::{Error, Result};
use crate::op::{self, Activations, ImageShape, Images, Window};

/// One layer; `C` is a convolution, `L` a linear layer.
#[derive(Clone, Debug)]
pub(super) enum Layer<C, L> {
    Conv(C),
    Linear(L),
    MaxPool(Window),
    AvgPool(Window),
    Norm(BatchNorm),
    Activation(Activation),
    Dropout(f32),
    Flatten,
}

/// What is between two layers.
#[derive(Clone, Copy, Debug)]
enum Extent {
    Image(ImageShape),
    Features(usize),
}

impl Extent {
    fn image(self) -> Result<ImageShape> {
        match self {
            Self::Image(image) => Ok(image),
            Self::Features(_) => Err(Error::config("layers", "it takes images, but comes after a flatten")),
        }
    }
}

/// A layer of the kind that a maker makes.
type Made<M> = Layer<<M as Maker>::Conv, <M as Maker>::Linear>;

/// Builds all layers.
pub(super) fn build<M: Maker>(device: &Device, config: &BitCnnConfig, source: &mut M) -> Result<Vec<Made<M>>> {
    let mut extent = Extent::Image(config.image);
    if config.image.values() == 0 {
        return Err(Error::config("image", "it has no values; give at least one channel, row and column"));
    }
    let mut names = HashSet::new();
    let mut layers = Vec::with_capacity(config.layers.len());
    for (index, layer) in config.layers.iter().enumerate() {
        let named = |error| match error {
            Error::Config { field, detail } => Error::config(format!("layers[{index}].{field}"), detail),
            other => other,
        };
        if let CnnLayer::Conv2d { name, .. } | CnnLayer::BatchNorm { name, .. } | CnnLayer::Linear { name, .. } = layer
            && !names.insert(name)
        {
            return Err(named(Error::config("name", format!("`{name}` is there already"))));
        }
        let (built, after) = one(device, config, layer, extent, source).map_err(named)?;
        layers.push(built);
        extent = after;
    }
    match extent {
        Extent::Features(_) => Ok(layers),
        Extent::Image(_) => Err(Error::config("layers", "they end with images; add a flatten")),
    }
}

/// Builds a layer, and tells what comes out of it.
fn one<M: Maker>(
    device: &Device,
    config: &BitCnnConfig,
    layer: &CnnLayer,
    extent: Extent,
    source: &mut M,
) -> Result<(Made<M>, Extent)> {
    Ok(match *layer {
        CnnLayer::Conv2d { ref name, channels, kernel, stride, padding } => {
            let (image, window) = (extent.image()?, Window::square(kernel, stride, padding));
            let shape = ConvShape { in_channels: image.channels, out_channels: channels, window };
            let out = shape.out(&image)?;
            let linear = source.layer(device, name, &shape.weight(), config.linear)?;
            (Layer::Conv(M::conv(linear, shape)), Extent::Image(out))
        }
        CnnLayer::MaxPool2d { kernel, stride, padding } => {
            let window = Window::square(kernel, stride.unwrap_or(kernel), padding);
            (Layer::MaxPool(window), Extent::Image(window.pooled(&extent.image()?)?))
        }
        CnnLayer::AvgPool2d { kernel, stride, padding } => {
            let window = Window::square(kernel, stride.unwrap_or(kernel), padding);
            (Layer::AvgPool(window), Extent::Image(window.pooled(&extent.image()?)?))
        }
        CnnLayer::BatchNorm { ref name, eps } => {
            let features = match extent {
                Extent::Image(image) => image.channels,
                Extent::Features(features) => features,
            };
            (Layer::Norm(BatchNorm::of(device, name, features, eps, source)?), extent)
        }
        CnnLayer::Activation { function } => (Layer::Activation(function), extent),
        CnnLayer::Dropout { rate } => {
            if !(0.0..1.0).contains(&rate) {
                return Err(Error::config("rate", format!("{rate} is not at least 0 and below 1")));
            }
            (Layer::Dropout(rate), extent)
        }
        CnnLayer::Flatten => (Layer::Flatten, Extent::Features(extent.image()?.values())),
        CnnLayer::Linear { ref name, features } => {
            let Extent::Features(before) = extent else {
                return Err(Error::config("layers", format!("{name} takes features; put a flatten before it")));
            };
            let linear = source.layer(device, name, &[features, before], config.linear)?;
            (Layer::Linear(linear), Extent::Features(features))
        }
    })
}

/// What flows from layer to layer.
#[derive(Clone, Debug)]
enum Flow {
    Images(Images),
    Features(Activations),
}

impl Flow {
    /// The same with every value, or every row of channels or features, changed by `change`.
    fn map(
        self,
        rec: &mut Recorder,
        change: impl FnOnce(&mut Recorder, &Activations) -> Result<Activations>,
    ) -> Result<Self> {
        Ok(match self {
            Self::Images(images) => {
                let pixels = images.pixels(rec)?;
                Self::Images(Images::from_pixels(change(rec, &pixels)?, *images.shape())?)
            }
            Self::Features(x) => Self::Features(change(rec, &x)?),
        })
    }

    fn images(self) -> Result<Images> {
        match self {
            Self::Images(images) => Ok(images),
            Self::Features(x) => {
                let found = format!("{} features", x.cols);
                Err(Error::Shape { op: "cnn", expected: "images".into(), found })
            }
        }
    }

    fn features(self) -> Result<Activations> {
        match self {
            Self::Features(x) => Ok(x),
            Self::Images(images) => {
                let found = format!("images of {} channels", images.shape().channels);
                Err(Error::Shape { op: "cnn", expected: "features".into(), found })
            }
        }
    }
}

/// All layers one after the other.
pub(super) fn forward<C, L>(
    layers: &[Layer<C, L>],
    image: ImageShape,
    rec: &mut Recorder,
    x: &Activations,
    pass: Pass,
    conv: impl Fn(&C, &mut Recorder, &Images) -> Result<Images>,
    linear: impl Fn(&L, &mut Recorder, &Activations) -> Result<Activations>,
) -> Result<Activations> {
    let mut flow = Flow::Images(Images::from_rows(x.clone(), image)?);
    for (index, layer) in layers.iter().enumerate() {
        flow = match layer {
            Layer::Conv(layer) => Flow::Images(conv(layer, rec, &flow.images()?)?),
            Layer::Linear(layer) => Flow::Features(linear(layer, rec, &flow.features()?)?),
            Layer::MaxPool(window) => Flow::Images(op::max_pool2d(rec, &flow.images()?, window)?),
            Layer::AvgPool(window) => Flow::Images(op::avg_pool2d(rec, &flow.images()?, window)?),
            Layer::Norm(norm) => flow.map(rec, |rec, x| norm.forward(rec, x))?,
            Layer::Activation(function) => flow.map(rec, |rec, x| op::activate(rec, *function, x))?,
            Layer::Dropout(rate) => match pass.seed_of(index) {
                Some(seed) => flow.map(rec, |rec, x| op::dropout(rec, x, *rate, seed))?,
                None => flow,
            },
            Layer::Flatten => Flow::Features(flow.images()?.flatten(rec)?),
        };
    }
    flow.features()
}
