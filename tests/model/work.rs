//! How much a device is asked to do: submissions of a token, pipelines of a pass.

use bitsmith::Device;
use bitsmith::model::{Model, Sampling, generate};
use libtest_mimic::Trial;

use crate::{Outcome, root, same, some_ids, tiny_llama};

/// The device is opened for each: others would count on a shared one.
pub fn trials(name: &str, open: fn() -> Result<Device, String>) -> Vec<Trial> {
    vec![
        Trial::test(format!("work/{name}/a token is one submission"), move || submissions(&open()?)),
        Trial::test(format!("work/{name}/a second pass creates nothing"), move || passes(&open()?)),
    ]
}

fn submissions(device: &Device) -> Outcome {
    for family in ["examples/tiny-llama", "tests/golden/families/opt-350m-like", "tests/golden/families/gpt2-tied"] {
        let model = Model::open(&root(family), device)?;
        let prompt = some_ids(5, u32::try_from(model.config().vocab_size)?);
        let before = device.submissions();
        let mut after = Vec::new();
        let each = |_| {
            after.push(device.submissions());
            true
        };
        let done = pollster::block_on(generate(&model, &prompt, 6, Sampling::default(), each))?;
        let told = done.tokens.len() - usize::from(done.ended);
        let expected: Vec<u64> = (1..=told as u64).map(|n| before + n).collect();
        same(&format!("submissions of {family} after each token"), &after, &expected)?;
        same("submissions in all", &device.submissions(), &(before + done.tokens.len() as u64))?;
    }
    Ok(())
}

/// Buffers and pipelines are there after the first token; the tokens after it create none.
fn passes(device: &Device) -> Outcome {
    let model = Model::open(&tiny_llama(), device)?;
    let prompt = some_ids(5, u32::try_from(model.config().vocab_size)?);
    let mut seen = Vec::new();
    let each = |_| {
        seen.push((device.memory().created, device.pipelines()));
        true
    };
    pollster::block_on(generate(&model, &prompt, 5, Sampling::default(), each))?;
    // The second token is the first that goes through the model alone.
    same("tokens heard of", &(seen.len() >= 4), &true)?;
    same("buffers and pipelines", &seen[2..], &vec![seen[1]; seen.len() - 2][..])?;
    // Nor does a whole second run.
    pollster::block_on(generate(&model, &prompt, 5, Sampling::default(), |_| true))?;
    same("pipelines of a second run", &device.pipelines(), &seen[1].1)
}
