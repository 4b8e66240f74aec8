//! Learned rounding on a GPU.

use std::path::Path;

use bitsmith::Device;
use bitsmith::calib::CalibrationDataset;
use bitsmith::io::{Text, TokenStream, Tokenizer};
use bitsmith::model::StreamedModel;
use bitsmith::progress::Silent;
use bitsmith::quant::{BlockRun, Learned, LearnedConfig, QuantizedBlock};
use libtest_mimic::Failed;

/// Codes that may differ: those of weights next to a threshold whose gradient is within rounding of 0.
const CODES: f64 = 0.01;
/// What these do to the loss, relative.
const LOSS: f64 = 0.02;

/// One step moves the parameters as on the CPU, but where a gradient is next to 0.
pub fn step(gpu: &Device) -> Result<(), Failed> {
    let [cpu, gpu] = [block(&Device::cpu())?, block(gpu)?];
    let (mut codes, mut different) = (0, 0);
    for (a, b) in cpu.layers.iter().zip(&gpu.layers) {
        let (a, b) = (a.layer.weight.unpack()?, b.layer.weight.unpack()?);
        codes += a.codes().len();
        different += a.codes().iter().zip(b.codes()).filter(|(a, b)| a != b).count();
    }
    let apart = (cpu.loss_after / gpu.loss_after - 1.0).abs();
    if cpu.best_iteration != Some(1)
        || gpu.best_iteration != Some(1)
        || different as f64 > CODES * codes as f64
        || apart > LOSS
    {
        let best = [cpu.best_iteration, gpu.best_iteration];
        return Err(format!("{different} of {codes} codes and {apart} of the loss differ, {best:?} was best").into());
    }
    Ok(())
}

/// The second of two iterations is better than the first: what is kept is one step from the nearest codes.
fn block(device: &Device) -> Result<QuantizedBlock, Failed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny-llama");
    let model = StreamedModel::open(&folder, device)?;
    let tokenizer = Tokenizer::read(&folder, model.config().vocab_size)?;
    let text = Text::read(&folder.join("calibration.txt"))?;
    let stream = TokenStream::encode(&[text.content()], &tokenizer)?;
    let config = LearnedConfig {
        bits: 2,
        group_size: "32".parse()?,
        asymmetric: true,
        iters: 2,
        lr: Some(0.01),
        batch_size: 4,
        keep_best: true,
        ..LearnedConfig::default()
    };
    let scheme = config.scheme()?;
    let paths: Vec<String> = model.block(0)?.linears().iter().flatten().map(|l| l.path().to_owned()).collect();
    let plan = paths.iter().map(|path| (path.as_str(), scheme)).collect();
    let data = CalibrationDataset::from_stream(&stream, 4, 32)?;
    let learned = Learned::new(config)?;
    let mut run = BlockRun::new(&learned, model, &data, &plan)?;
    Ok(pollster::block_on(run.next_block(&mut Silent))?.ok_or("there is a block")?)
}
