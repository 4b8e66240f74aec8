//! Token counts and model folders of the shared checkpoints, against the figures of other programs. Needs the
//! folder `$BITSMITH_SHARED`, else `../shared`; without it every case is listed as ignored.
//! `Cargo.toml` must register this file with `harness = false`.

use std::path::{Path, PathBuf};

use bitsmith::io::{Checkpoint, ModelConfig, Text, TokenStream, Tokenizer, Windows, read_config};
use libtest_mimic::{Arguments, Failed, Trial};

/// Model, text, documents taken (`None`: the text as it is), tokens, window, tokens scored.
type Count = (&'static str, &'static str, Option<usize>, usize, usize, usize);

/// The rows of `SOURCES.md`, which transformers and tokenizers computed.
const COUNTS: [Count; 11] = [
    ("stories260K", "tinystories/val.txt", Some(1000), 387_375, 512, 386_316),
    ("stories260K", "tinystories/val.txt", Some(1000), 387_375, 256, 385_815),
    ("stories260K", "tinystories/val.txt", Some(500), 192_833, 512, 192_136),
    ("stories260K", "tinystories/test.txt", Some(1000), 380_007, 512, 379_162),
    ("bitllama2-1M-ternary", "tinystories/val.txt", Some(500), 192_833, 256, 192_015),
    ("bitllama2-3M-ternary-packed", "tinystories/val.txt", Some(100), 41_815, 512, 41_391),
    ("babyllama-char-0.9M", "tinystories/val.txt", Some(500), 397_369, 256, 395_760),
    ("gpt2-shakespeare-char", "tinyshakespeare/input.txt", None, 1_115_394, 64, 1_097_964),
    ("opt-shakespeare-char", "tinyshakespeare/input.txt", None, 1_115_394, 64, 1_097_964),
    ("stories260K", "wikitext-2/test.txt", None, 731_927, 512, 730_219),
    ("stories260K", "wikitext-2-raw/wiki.test.raw", None, 102_400, 512, 102_200),
];

/// The row of this text counts its first tokens only.
const FIRST_TOKENS_ONLY: (&str, usize) = ("wikitext-2-raw/wiki.test.raw", 102_400);

fn shared() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    std::env::var_os("BITSMITH_SHARED").map_or_else(default, PathBuf::from)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), Failed> {
    if found == expected { Ok(()) } else { Err(format!("{what}: found {found:?}, expected {expected:?}").into()) }
}

fn count((model, text, max_documents, tokens, window, scored): Count) -> Result<(), Failed> {
    let folder = shared().join("models").join(model);
    let vocab_size = read_config(&folder)?["vocab_size"].as_u64().ok_or("vocab_size")?;
    let tokenizer = Tokenizer::read(&folder, usize::try_from(vocab_size)?)?;
    let file = Text::read(&shared().join("text").join(text))?;
    let documents = file.documents(max_documents.map(|_| "<|endoftext|>"), max_documents)?;
    let mut stream = TokenStream::encode(&documents, &tokenizer)?;
    if text == FIRST_TOKENS_ONLY.0 {
        stream.truncate(FIRST_TOKENS_ONLY.1);
    }
    same("tokens", stream.ids().len(), tokens)?;
    same("scored", Windows::new(tokens, window, window)?.scored(), scored)
}

fn llama_folder(model: &str) -> Result<(), Failed> {
    let folder = shared().join("models").join(model);
    let (config, _) = ModelConfig::read(&folder)?;
    let checkpoint = Checkpoint::open(&folder)?;
    let embedding = checkpoint.tensor("model.embed_tokens.weight")?;
    same("embedding", embedding.shape(), &[config.vocab_size, config.hidden_size])?;
    let last = format!("model.layers.{}.self_attn.k_proj.weight", config.num_hidden_layers - 1);
    let expected = [config.num_key_value_heads * config.head_dim, config.hidden_size];
    same("keys", checkpoint.tensor(&last)?.shape(), &expected)?;
    let file = std::fs::metadata(checkpoint.path_of(&last).ok_or("path")?)?.len();
    same("a header is small", file - checkpoint.total_bytes() < 16 * 1024, true)
}

fn unsupported_folder(model: &str) -> Result<(), Failed> {
    let folder = shared().join("models").join(model);
    same("refused", matches!(ModelConfig::read(&folder), Err(bitsmith::Error::Unsupported { .. })), true)?;
    let checkpoint = Checkpoint::open(&folder)?;
    same("weights", checkpoint.names().all(|name| checkpoint.raw(name).is_ok()), true)
}

fn main() {
    let arguments = Arguments::from_args();
    let present = shared().join("SOURCES.md").exists();
    let mut trials = Vec::new();
    for row in COUNTS {
        let name =
            format!("tokens::{}::{}::{}::{}", row.0, row.1, row.2.map_or("all".into(), |n| n.to_string()), row.4);
        trials.push(Trial::test(name, move || count(row)));
    }
    for model in ["stories260K", "babyllama-char-0.9M", "bitllama2-1M-ternary"] {
        trials.push(Trial::test(format!("llama_folder::{model}"), move || llama_folder(model)));
    }
    let model = "mnist-lenet";
    trials.push(Trial::test(format!("unsupported_folder::{model}"), move || unsupported_folder(model)));
    let trials =
        trials.into_iter().map(|t| t.with_ignored_flag(!present).with_kind(if present { "" } else { "needs shared/" }));
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
