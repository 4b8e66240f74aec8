//! The cache against a full recompute, and how often a token is computed.

use std::path::PathBuf;

use bitsmith::model::{Model, Sampling, StreamedModel, generate};
use bitsmith::{Device, Recorder};
use libtest_mimic::Trial;

use crate::{Outcome, logits, max_difference, root, same, some_ids, tiny_llama, within};

/// Logits with the cache against those of one pass over everything. They need not be equal bit for bit: the kernel of
/// a matrix product is chosen by the number of rows, and each sums in an order of its own. Measured on software Vulkan:
/// at most 1.7e-5, which is what transformers' own rounding amounts to; on the CPU with its plain loops: none.
const SUMMATION_ORDER: f32 = 1e-4;
const TOKENS: u32 = 24;

pub fn trials(name: &str, device: &Device) -> Vec<Trial> {
    let mut trials = Vec::new();
    let family = |family: &str| root("tests/golden/families").join(family);
    for (model, folder) in [
        ("tiny-llama", tiny_llama()),
        ("mistral-window", family("mistral-window")),
        ("qwen3-norms", family("qwen3-norms")),
        ("llama3-rope", family("llama3-rope")),
        ("opt-350m-like", family("opt-350m-like")),
        ("gpt2-tied", family("gpt2-tied")),
    ] {
        for (way, steps) in [
            ("one by one", vec![1; TOKENS as usize]),
            ("prompt, then one by one", [&[9][..], &[1; TOKENS as usize - 9]].concat()),
            ("chunks", vec![5, 8, 2, 9]),
        ] {
            let (folder, device) = (folder.clone(), device.clone());
            trials.push(Trial::test(format!("cache/{name}/{model}/{way}"), move || stepwise(folder, &device, &steps)));
        }
        let device = device.clone();
        trials
            .push(Trial::test(format!("cache/{name}/{model}/block by block"), move || block_by_block(folder, &device)));
    }
    let trial = |label: &str, test: fn(&Device) -> Outcome| {
        let device = device.clone();
        Trial::test(format!("cache/{name}/{label}"), move || test(&device))
    };
    for family in ["mistral-window", "opt-350m-like", "gpt2-tied"] {
        let device = device.clone();
        let label = format!("cache/{name}/{family}/sequences side by side");
        trials.push(Trial::test(label, move || side_by_side(family, &device)));
    }
    trials.push(trial("cleared", cleared));
    trials.push(trial("cut short", cut_short));
    trials.push(trial("generation computes each token once", generation));
    trials.push(trial("overfull", overfull));
    trials
}

/// With one block on the device at a time, the model gives the same bits.
fn block_by_block(folder: PathBuf, device: &Device) -> Outcome {
    let whole = Model::open(&folder, device)?;
    let ids = some_ids(TOKENS, u32::try_from(whole.config().vocab_size)?);
    let ids = [&ids[..], &ids[1..], &ids[..1]].concat();
    let expected = logits(&whole, &ids, &mut whole.cache(2, ids.len() / 2)?)?;
    let model = StreamedModel::open(&folder, device)?;
    let mut cache = model.cache(2, ids.len() / 2)?;
    let mut rec = Recorder::new(device);
    let mut x = model.embed(&mut rec, &ids, &cache)?;
    for index in 0..model.blocks() {
        x = model.block(index)?.forward(&mut rec, x, &mut cache)?;
    }
    let found = model.logits(&mut rec, x)?;
    rec.submit()?;
    same("logits", &pollster::block_on(found.read(device))?, &expected)?;
    same("a block beyond the last one is refused", &model.block(model.blocks()).is_err(), &true)
}

fn stepwise(folder: PathBuf, device: &Device, steps: &[usize]) -> Outcome {
    let model = Model::open(&folder, device)?;
    let ids = some_ids(TOKENS, u32::try_from(model.config().vocab_size)?);
    let whole = logits(&model, &ids, &mut model.cache(1, ids.len())?)?;
    let mut cache = model.cache(1, ids.len())?;
    let mut found = Vec::new();
    for step in steps {
        let past = cache.past();
        found.extend(logits(&model, &ids[past..past + step], &mut cache)?);
    }
    same("tokens computed", &cache.computed(), &u64::from(TOKENS))?;
    within("largest difference of a logit", max_difference(&found, &whole), SUMMATION_ORDER)
}

/// Three sequences of one cache, in two steps, against each alone.
fn side_by_side(family: &str, device: &Device) -> Outcome {
    let model = Model::open(&root("tests/golden/families").join(family), device)?;
    let vocab = model.config().vocab_size;
    let all = some_ids(3 * TOKENS, u32::try_from(vocab)?);
    let sequences: Vec<&[u32]> = all.chunks(TOKENS as usize).collect();
    let mut cache = model.cache(3, TOKENS as usize)?;
    let mut found = vec![Vec::new(); 3];
    for range in [0..10, 10..TOKENS as usize] {
        let ids = sequences.iter().flat_map(|s| s[range.clone()].to_vec()).collect::<Vec<_>>();
        let rows = logits(&model, &ids, &mut cache)?;
        for (sequence, rows) in found.iter_mut().zip(rows.chunks(range.len() * vocab)) {
            sequence.extend_from_slice(rows);
        }
    }
    same("tokens computed", &cache.computed(), &u64::from(3 * TOKENS))?;
    for (ids, found) in sequences.iter().zip(&found) {
        let alone = logits(&model, ids, &mut model.cache(1, ids.len())?)?;
        within("largest difference of a logit", max_difference(found, &alone), SUMMATION_ORDER)?;
    }
    Ok(())
}

/// A cache that is used again gives what a new one gives, bit for bit.
fn cleared(device: &Device) -> Outcome {
    let model = Model::open(&root("tests/golden/families/qwen2-window"), device)?;
    let (first, second) = (some_ids(20, 64), some_ids(13, 61));
    let mut cache = model.cache(1, 20)?;
    logits(&model, &first, &mut cache)?;
    cache.clear();
    let again = logits(&model, &second, &mut cache)?;
    let new = logits(&model, &second, &mut model.cache(1, 20)?)?;
    same("computed counts on", &cache.computed(), &33)?;
    same("bits", &bits(&again), &bits(&new))
}

/// After forgetting the last tokens, others may follow the first ones.
fn cut_short(device: &Device) -> Outcome {
    let model = Model::open(&root("tests/golden/families/qwen2-window"), device)?;
    let (first, others) = (some_ids(9, 64), some_ids(4, 61));
    let mut cache = model.cache(1, 20)?;
    logits(&model, &first, &mut cache)?;
    logits(&model, &some_ids(11, 64), &mut cache)?;
    cache.truncate(9);
    cache.truncate(15);
    same("tokens held", &cache.past(), &9)?;
    let again = logits(&model, &others, &mut cache)?;
    let mut new = model.cache(1, 20)?;
    logits(&model, &first, &mut new)?;
    same("bits", &bits(&again), &bits(&logits(&model, &others, &mut new)?))
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Prompt and new tokens but the last: each put through the model once; and the tokens are those that a recompute of
/// everything for every token finds.
fn generation(device: &Device) -> Outcome {
    const NEW: usize = 12;
    let model = Model::open(&tiny_llama(), device)?;
    let vocab = model.config().vocab_size;
    let mut ids = some_ids(7, u32::try_from(vocab)?);
    let mut heard = Vec::new();
    let hear = |token| {
        heard.push(token);
        true
    };
    let done = pollster::block_on(generate(&model, &ids, NEW, Sampling::default(), hear))?;
    same("computed", &done.computed, &(7 + done.tokens.len() as u64 - 1))?;
    let told = done.tokens.len() - usize::from(done.ended);
    same("heard of", &heard, &done.tokens[..told].to_vec())?;
    for token in &done.tokens {
        let rows = logits(&model, &ids, &mut model.cache(1, ids.len())?)?;
        let last = &rows[rows.len() - vocab..];
        let best = last.iter().copied().fold(f32::MIN, f32::max);
        same("greedy", &(last[*token as usize] >= best - SUMMATION_ORDER), &true)?;
        ids.push(*token);
    }
    Ok(())
}

fn overfull(device: &Device) -> Outcome {
    let model = Model::open(&root("tests/golden/families/smollm"), device)?;
    let mut cache = model.cache(1, 4)?;
    logits(&model, &[3, 4, 5], &mut cache)?;
    let error = logits(&model, &[6, 7], &mut cache).err().map(|e| e.to_string()).unwrap_or_default();
    same("names the room", &(error.contains("from 1 to 1 tokens") && error.contains("2 token ids")), &true)?;
    let error = logits(&model, &[64], &mut cache).err().map(|e| e.to_string()).unwrap_or_default();
    same("names the vocabulary", &(error.contains("below 64") && error.contains("64")), &true)?;
    let error = model.cache(1, 129).err().map(|e| e.to_string()).unwrap_or_default();
    same("names the context", &(error.contains("129") && error.contains("128")), &true)?;
    same("tokens computed", &cache.computed(), &3)
}
