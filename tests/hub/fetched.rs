//! What is fetched, where it lies, and that it is fetched once.

use std::fs;

use crate::server::{COMMIT, Server, git_name, sha256};
use crate::{ID, MODEL, REPOSITORY, User, listing, model_file, run};

#[test]
fn a_model_is_fetched_by_its_name_and_found_again_without_the_hub() {
    let server = Server::with(MODEL);
    server.put(REPOSITORY, "pytorch_model.bin", b"never asked for");
    server.put(REPOSITORY, "LICENSE.txt", b"do what you like");
    let user = User::of(&server.address());
    let line = format!("quantize {ID} --out {{}}/w4 --device cpu --json");
    let record = user.types(&line).json();
    assert_eq!(record["model"], ID);
    let of_folder = format!("quantize {MODEL} --out {{}}/other --device cpu --quiet");
    user.types(&of_folder).ok();
    for file in ["model.safetensors", "tokenizer.json", "config.json"] {
        let bytes = |out: &str| fs::read(user.path(out).join(file)).expect("it was written");
        assert!(bytes("w4") == bytes("other"), "{file}");
    }
    assert!(user.path("w4/LICENSE.txt").exists());
    let fetched = [
        "LICENSE.txt",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(listing(&user.snapshot(COMMIT)), fetched);

    drop(server);
    let eval =
        format!("eval {ID} --text {MODEL}/validation.txt --window 32 --max-tokens 64 --device cpu --json --offline");
    let by_folder = eval.replace(ID, MODEL).replace("--offline", "");
    let quality = |line: &str| user.types(line).json()["perplexity"].clone();
    assert_eq!(quality(&eval), quality(&by_folder));
    let compared = user.types(&format!("{eval} --reference {ID}")).json();
    assert_eq!(compared["kl_max"], 0.0);
    let text = user.types(&format!("generate {ID} --prompt Once --max-tokens 3 --device cpu --offline")).ok();
    assert!(text.stdout.starts_with("Once"), "{text:?}");
    user.types(&format!("inspect {ID}@main --offline")).ok();
    user.types(&format!("inspect {ID}@{COMMIT} --offline")).ok();
}

#[test]
fn the_cache_is_laid_out_as_other_clients_expect() {
    let server = Server::with(MODEL);
    let user = User::of(&server.address());
    user.types(&format!("inspect {ID} --cache-dir {{}}/elsewhere")).ok();
    let repository = user.path("elsewhere/models--lab--tiny");
    assert_eq!(fs::read_to_string(repository.join("refs/main")).expect("a ref"), COMMIT);
    let snapshot = repository.join("snapshots").join(COMMIT);
    let names = [
        ("config.json", git_name(&model_file("config.json"))),
        ("model.safetensors", sha256(&model_file("model.safetensors"))),
    ];
    for (file, name) in names {
        assert!(fs::read(repository.join("blobs").join(&name)).expect("a blob") == model_file(file));
        #[cfg(unix)]
        assert_eq!(
            fs::read_link(snapshot.join(file)).expect("a link"),
            format!("../../blobs/{name}").as_ref() as &std::path::Path
        );
        assert!(fs::read(snapshot.join(file)).expect("a file") == model_file(file));
    }
    assert!(!listing(&repository.join("blobs")).iter().any(|name| name.ends_with(".incomplete")));
    assert!(!user.path("hub").exists());
}

#[test]
fn what_is_in_the_cache_is_not_fetched_again() {
    let server = Server::with(MODEL);
    let user = User::of(&server.address());
    user.types(&format!("inspect {ID}")).ok();
    server.forget();
    user.types(&format!("inspect {ID}")).ok();
    assert_eq!(server.sent(), 0, "{:?}", server.asked());

    // The next commit changes one file; the weights are known by their content.
    let config = [&model_file("config.json")[..], b"\n"].concat();
    server.put(REPOSITORY, "config.json", &config);
    let next = COMMIT.replace('0', "f");
    server.commit(REPOSITORY, &next);
    user.types(&format!("inspect {ID}")).ok();
    assert_eq!(server.sent(), config.len(), "{:?}", server.asked());
    assert!(user.snapshot(&next).join("model.safetensors").exists());

    // A path that exists wins, whatever the hub has.
    server.forget();
    server.put("models/examples/tiny-llama", "config.json", b"{}");
    user.types(&format!("inspect {MODEL}")).ok();
    assert_eq!(server.asked().len(), 0);
}

#[test]
fn the_token_goes_to_the_hub_and_to_nobody_else() {
    let server = Server::with(MODEL);
    let user = User::of(&server.address());
    let mut command = user.command(["inspect", ID]);
    command.env("HF_TOKEN", "hf_secret");
    run(command).ok();
    let asked = server.asked();
    for asked in &asked {
        let expected = (!asked.path.starts_with("/cdn/")).then_some("Bearer hf_secret");
        assert_eq!(asked.token.as_deref(), expected, "{asked:?}");
    }
    assert!(asked.iter().any(|asked| asked.path.starts_with("/cdn/")), "{asked:?}");
}

#[test]
fn shards_and_revisions_are_followed() {
    let server = Server::with("tests/golden/families/qwen3-norms");
    // Weights of another program that the index does not name.
    server.put(REPOSITORY, "consolidated.safetensors", b"never asked for");
    server.revision(REPOSITORY, "refs/pr/1");
    let user = User::of(&server.address());
    user.types(&format!("inspect {ID}@refs/pr/1")).ok();
    let names = listing(&user.snapshot(COMMIT));
    assert_eq!(names.iter().filter(|name| name.ends_with(".safetensors")).count(), 4, "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("consolidated")), "{names:?}");
    user.types(&format!("inspect {ID}@refs/pr/1 --offline")).ok();
    user.types(&format!("inspect {ID} --offline")).failed(1, &[ID, "not in the cache"]);
}

#[test]
fn two_programs_share_one_download() {
    let server = Server::with(MODEL);
    let user = User::of(&server.address());
    let start =
        || user.command(["inspect", ID, "--json"]).stdout(std::process::Stdio::piped()).spawn().expect("it starts");
    let outputs = [start(), start(), start()].map(|child| child.wait_with_output().expect("it ends"));
    for output in &outputs {
        assert!(output.status.success() && output.stdout == outputs[0].stdout, "{output:?}");
    }
    let weights: usize =
        server.asked().iter().filter(|asked| asked.path.starts_with("/cdn/")).map(|asked| asked.sent).sum();
    assert_eq!(weights, model_file("model.safetensors").len());
}
