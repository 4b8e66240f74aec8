//! Convolutional networks in files.

use serde::{Deserialize, Serialize};

use super::config::BitLinearConfig;
use super::mlp::Normalize;
use crate::activation::Activation;
use crate::op::ImageShape;

/// A convolutional network: what its images are, and its layers in order; see [`BitCnn`](super::BitCnn) for one in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BitCnnConfig {
    /// The input: a row an image, channel after channel.
    pub image: ImageShape,
    /// From the images to the logits.
    pub layers: Vec<CnnLayer>,
    /// What all convolutions and linear layers are quantized to; without it they are float.
    #[serde(default = "BitLinearConfig::float")]
    pub linear: BitLinearConfig,
    /// How the bytes of a picture become its input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
}

/// One layer: `{"layer": "conv2d", "name": "conv1", "channels": 20, "kernel": 5}`. Windows are as high as wide. A name is that
/// of the module in the checkpoint.
///
/// ```
/// use bitsmith::nn::CnnLayer;
/// let pool: CnnLayer = serde_json::from_str(r#"{"layer": "max_pool2d", "kernel": 2}"#).unwrap();
/// assert_eq!(pool, CnnLayer::MaxPool2d { kernel: 2, stride: None, padding: 0 });
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "layer", rename_all = "snake_case", deny_unknown_fields)]
pub enum CnnLayer {
    /// A convolution of images.
    Conv2d {
        /// Module path.
        name: String,
        /// Channels of what comes out.
        channels: usize,
        /// Pixels along a side of the window.
        kernel: usize,
        /// Pixels from one window to the next; 1 if it is left out.
        #[serde(default = "one")]
        stride: usize,
        /// Pixels around an image that count as 0; none if it is left out.
        #[serde(default)]
        padding: usize,
    },
    /// The largest value of each channel in a window.
    MaxPool2d {
        /// Pixels along a side of the window.
        kernel: usize,
        /// Pixels from one window to the next; `kernel` if it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stride: Option<usize>,
        /// Pixels around an image that are no value; none if it is left out.
        #[serde(default)]
        padding: usize,
    },
    /// The mean of each channel in a window.
    AvgPool2d {
        /// Pixels along a side of the window.
        kernel: usize,
        /// Pixels from one window to the next; `kernel` if it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stride: Option<usize>,
        /// Pixels around an image that count as 0; none if it is left out.
        #[serde(default)]
        padding: usize,
    },
    /// A batch norm of channels or features with known statistics, which a training leaves as they are.
    BatchNorm {
        /// Module path.
        name: String,
        /// Added to the variance.
        #[serde(default = "eps")]
        eps: f64,
    },
    /// An activation function.
    Activation {
        /// Which one.
        function: Activation,
    },
    /// In a training, a share of the values becomes 0.
    Dropout {
        /// The share.
        rate: f32,
    },
    /// From images to features, channel after channel.
    Flatten,
    /// A linear layer of features.
    Linear {
        /// Module path.
        name: String,
        /// Features of what comes out.
        features: usize,
    },
}

fn one() -> usize {
    1
}

/// `PyTorch`'s.
fn eps() -> f64 {
    1e-5
}
