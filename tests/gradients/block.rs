//! Whole blocks of every family: the gradients of their input and of each of their weights.

use std::path::Path;

use bitsmith::model::StreamedModel;
use bitsmith::op::DenseWeight;
use bitsmith::{Device, Random};

use crate::check::{Input, check_some};

/// Elements of each input that differences are taken of: a block has too many for all.
const SOME: usize = 24;
/// A step of one weight moves every row's activations, and OPT's ReLUs have corners that some of them cross. Of the largest
/// derivative; a gradient that is wrong in any part is off by far more.
const TOLERANCE: f64 = 1e-2;

#[test]
fn every_familys_block() {
    for family in ["mistral-window", "qwen3-norms", "llama3-rope", "opt-350m-like", "gpt2-tied", "bitnet-norms"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families").join(family);
        let model = StreamedModel::open(&folder, &Device::cpu()).expect("the family is there");
        let mut random = Random::new(12);
        let (sequences, tokens, hidden) = (2, 5, model.config().hidden_size);
        let mut inputs = vec![Input::normal(sequences * tokens, hidden, 1.0, &mut random)];
        for linear in model.block(1).expect("there are two blocks").linears().into_iter().flatten() {
            let [rows, cols] = linear.shape();
            inputs.push(Input::normal(rows, cols, 0.5 / (cols as f32).sqrt(), &mut random));
        }
        check_some(family, &inputs, SOME, TOLERANCE, |rec, x| {
            // Opened for the device of this recording.
            let model = StreamedModel::open(&folder, rec.device())?;
            let mut block = model.block(1)?;
            for (linear, weight) in block.linears_mut().into_iter().flatten().zip(&x[1..]) {
                linear.set_dense(DenseWeight::from_values(weight.clone())?)?;
            }
            block.forward(rec, x[0].clone(), &mut model.cache(sequences, tokens)?)
        });
    }
}
