//! Trainings that are killed go on to the same bytes, and only with what they had.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use bitsmith::Random;
use tempfile::TempDir;

use crate::Tests;
use crate::program::{Run, listing, same};

pub const TESTS: Tests = &[
    ("kills of a language model's training give identical bytes", language_model),
    ("kills of a classifier's training give identical bytes", classifier),
    ("a killed classifier's training is not gone on with for other images or settings", refused),
    ("a classifier's training that is stopped can be resumed", stopped),
];

const KILLS: usize = 4;
const SEED: u32 = 13;
/// After a state was found on disk, a run is killed within this many milliseconds: some steps, and often a state.
const LATER: u32 = 10;
/// Steps between two states.
const EVERY: usize = 10;

/// A folder with what is learned, and the words of the command.
struct Training {
    folder: TempDir,
    words: String,
}

impl Training {
    fn of_text() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::copy("examples/tiny-llama/tokenizer.json", folder.path().join("tokenizer.json")).unwrap();
        let config = r#"{"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 512, "max_position_embeddings": 64,
            "tie_word_embeddings": true, "bos_token_id": 1}"#;
        fs::write(folder.path().join("config.json"), config).unwrap();
        let words = "config.json --text calibration.txt --documents <|endoftext|> --max-documents 40 --steps 200 \
            --batch-size 2 --accumulate 2 --seq-len 16 --weights ternary --activations int8 --noise 0.1";
        fs::copy("examples/tiny-llama/calibration.txt", folder.path().join("calibration.txt")).unwrap();
        Self { folder, words: words.to_owned() }
    }

    fn of_images() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Random::new(SEED);
        let images: Vec<u8> = (0..100 * 64u32).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
        let labels: Vec<u8> = images.chunks(64).map(|image| image[0] / 64).collect();
        let write = |name: &str, head: &[u8], body: &[u8]| {
            fs::write(folder.path().join(name), [head, body].concat()).unwrap();
        };
        write("images", &[0, 0, 8, 2, 0, 0, 0, 100, 0, 0, 0, 64], &images);
        write("labels", &[0, 0, 8, 1, 0, 0, 0, 100], &labels);
        let mlp = r#"{"model_type": "mlp", "layers": [64, 48, 4], "activation": "relu", "dropout": 0.1}"#;
        write("mlp.json", mlp.as_bytes(), &[]);
        let words = "mlp.json --images images --labels labels --epochs 40 --batch-size 8 --weights ternary \
            --activations int8 --noise 0.1";
        Self { folder, words: words.to_owned() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, out: &str, more: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bitsmith"));
        command.current_dir(self.folder.path()).arg("train").args(self.words.split_whitespace());
        command.args(["--out", out, "--device", "cpu", "--checkpoint-every", &EVERY.to_string()]);
        command.args(more.split_whitespace());
        command.env_remove("RUST_LOG").env("RAYON_NUM_THREADS", "2").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, out: &str, more: &str) -> Run {
        Run::of(&self.command(out, more).output().unwrap())
    }

    fn journal(&self) -> PathBuf {
        self.path(".broken.partial/journal")
    }

    /// Starts or goes on, and sends a signal `later` milliseconds after the next state is on disk.
    fn interrupted(&self, signal: &str, later: u32) -> Run {
        let before = fs::read(self.journal()).unwrap_or_default();
        let mut child = self.command("broken", "--resume").spawn().unwrap();
        while fs::read(self.journal()).unwrap_or_default() == before && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(later.into()));
        let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "it ended before it was interrupted");
        Run::of(&child.wait_with_output().unwrap())
    }

    /// Steps that a run found on disk.
    fn resumed(run: &Run) -> usize {
        let line = run.stderr.lines().find(|line| line.ends_with(" steps were taken before"));
        line.and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0)
    }

    /// Fails unless kills at several steps leave a training that ends as one that was never killed.
    fn survives(&self) {
        self.run("whole", "").ok();
        let mut random = Random::new(SEED);
        for _ in 0..KILLS {
            assert_eq!(self.interrupted("KILL", random.below(LATER)).code, None);
            assert!(!self.path("broken").exists());
        }
        // A state each, at least.
        assert!(Self::resumed(&self.run("broken", "--resume").ok()) >= KILLS * EVERY);
        same(&self.path("broken"), &self.path("whole"));
        self.nothing_is_left();
    }

    fn nothing_is_left(&self) {
        let hidden = |name: &&String| name.starts_with('.');
        assert_eq!(listing(self.folder.path()).iter().find(hidden), None);
    }
}

fn language_model() {
    Training::of_text().survives();
}

fn classifier() {
    Training::of_images().survives();
}

fn refused() {
    let training = Training::of_images();
    training.interrupted("KILL", 0);
    let journal = fs::read(training.journal()).unwrap();
    let refused = |more: &str, words: &[&str]| {
        training.run("broken", &format!("--resume {more}")).failed(2, words).says(&["error: --resume: "]);
        assert!(fs::read(training.journal()).unwrap() == journal && !training.path("broken").exists());
    };
    refused("--held-out 0.21", &["held_out was 0.2 and is 0.21"]);
    refused("--lr 0.5", &["lr was null and is 0.5"]);
    let changed = |name: &str, at: usize, words: &[&str]| {
        let (path, bytes) = (training.path(name), fs::read(training.path(name)).unwrap());
        let mut other = bytes.clone();
        other[at] ^= 1;
        fs::write(&path, other).unwrap();
        refused("", words);
        fs::write(&path, bytes).unwrap();
    };
    changed("images", 5000, &["images is not what the unfinished run learned"]);
    changed("labels", 50, &["labels is not what the unfinished run learned"]);
    let config = fs::read_to_string(training.path("mlp.json")).unwrap();
    fs::write(training.path("mlp.json"), config.replace("0.1", "0.2")).unwrap();
    refused("", &["the model was changed"]);
    fs::write(training.path("mlp.json"), config).unwrap();
    // A state that is not as it was written; beside it may lie the next one, as far as it came.
    let (folder, journal) = (training.path(".broken.partial/state"), String::from_utf8_lossy(&journal));
    let state = listing(&folder).into_iter().find(|name| journal.contains(&format!("\"{name}\""))).unwrap();
    let bytes = fs::read(folder.join(&state)).unwrap();
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    fs::write(folder.join(&state), other).unwrap();
    training.run("broken", "--resume").failed(1, &["not as it was written", "begin anew"]);
    fs::write(folder.join(&state), bytes).unwrap();
    assert!(Training::resumed(&training.run("broken", "--resume --report page.html").ok()) >= EVERY);
    let page = fs::read_to_string(training.path("page.html")).unwrap();
    assert!(page.contains("polyline"), "{page}");
    training.nothing_is_left();
}

fn stopped() {
    let training = Training::of_images();
    let words = ["error: stopped on request", "hint: ", "of 400 steps are saved in", "--resume"];
    training.interrupted("INT", 0).failed(1, &words);
    assert!(Training::resumed(&training.run("broken", "--resume").ok()) >= EVERY);
    training.nothing_is_left();
}
