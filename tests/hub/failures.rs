//! What can go wrong, and what the user is told.

use std::fs;

use crate::server::{COMMIT, Fault, Server};
use crate::{ID, MODEL, REPOSITORY, User, listing, run};

#[test]
fn refusals_say_what_to_do() {
    let server = Server::with(MODEL);
    let user = User::of(&server.address());
    for (status, code, words) in [
        (401, "", &["no such model", "401", "spelling", "HF_TOKEN"][..]),
        (401, "RepoNotFound", &["no such model", "401", "HF_TOKEN"]),
        (401, "GatedRepo", &["gated", "licence", "HF_TOKEN", "/lab/tiny"]),
        (403, "GatedRepo", &["gated", "accept it at http://", "/lab/tiny"]),
        (403, "", &["HF_TOKEN", "403", "/lab/tiny"]),
        (404, "RepoNotFound", &["no such model", "404", "spelling", "folder"]),
        (429, "", &["too many requests", "wait"]),
        (500, "", &["500", "later"]),
        (418, "", &["does not answer as a hub", "418"]),
    ] {
        // Some come with the first question, some only with the file.
        for part in ["/api/models/", "/tree/", "/resolve/"] {
            if status == 500 && part != "/resolve/" || status == 404 && part == "/resolve/" {
                continue;
            }
            server.misbehave(move |asked| asked.path.contains(part).then_some(Fault::Status(status, code)));
            user.types(&format!("inspect {ID}")).failed(1, words);
        }
    }
    server.behave();
    user.types("inspect lab/tinny").failed(1, &["lab/tinny", "no such model", "spelling", "folder"]);
    user.types("inspect tinny").failed(1, &["tinny", "no such folder", "no such model", "spelling"]);
    user.types(&format!("inspect {ID}@v9")).failed(1, &["v9", "no branch, tag or commit", "/tree/main"]);
    // Nothing of it is taken for a model.
    assert_eq!(listing(&user.snapshot(COMMIT)), [""; 0]);
}

#[test]
fn a_web_page_is_no_model() {
    const PAGE: &str = "<!DOCTYPE html><html><title>Sign in to the hotel</title></html>";
    let server = Server::with(MODEL);
    let user = User::of(&server.address());
    for part in ["/api/models/", "/tree/", "/resolve-cache/"] {
        server.misbehave(move |asked| asked.path.contains(part).then_some(Fault::Page(PAGE)));
        user.types(&format!("inspect {ID}")).failed(1, &["does not answer as a hub", "HF_ENDPOINT", "login page"]);
    }
    server.behave();
    user.types(&format!("inspect {ID}")).ok();
}

#[test]
fn names_from_the_hub_do_not_lead_out_of_the_cache() {
    let server = Server::with(MODEL);
    server.put(REPOSITORY, "LICENSE/../../../../evil.txt", b"evil");
    server.put(REPOSITORY, "LICENSE\\..\\evil.txt", b"evil");
    let user = User::of(&server.address());
    user.types(&format!("inspect {ID}")).ok();
    assert!(!listing(&user.snapshot(COMMIT)).iter().any(|name| name.starts_with("LICENSE")));

    server.remove(REPOSITORY, "model.safetensors");
    server.put(REPOSITORY, "../evil.safetensors", b"evil");
    let index = br#"{"weight_map": {"a": "../evil.safetensors"}}"#;
    server.put(REPOSITORY, "model.safetensors.index.json", index);
    let user = User::of(&server.address());
    let words = ["model.safetensors.index.json", "../evil.safetensors", "no file of this folder"];
    user.types(&format!("inspect {ID}")).failed(1, &words);
    assert!(!server.asked().iter().any(|asked| asked.path.contains("evil")), "{:?}", server.asked());

    // Nor does the name of a commit.
    server.commit(REPOSITORY, "../../../../evil");
    user.types(&format!("inspect {ID}")).failed(1, &["does not answer as a hub", "commit"]);
}

#[test]
fn models_that_are_not_whole_or_have_other_weights_are_refused() {
    let server = Server::with("tests/golden/families/qwen3-norms");
    server.remove(REPOSITORY, "model-00003-of-00004.safetensors");
    let user = User::of(&server.address());
    let words = ["names model-00003-of-00004.safetensors", "does not hold"];
    user.types(&format!("inspect {ID}")).failed(1, &words);

    server.put("models/lab/old", "config.json", b"{}");
    server.put("models/lab/old", "pytorch_model.bin", b"pickle");
    let words = ["no model.safetensors", "pytorch_model.bin", "refs/pr/1"];
    user.types("inspect lab/old").failed(1, &words);
    assert_eq!(listing(&user.path("hub/models--lab--old")), [""; 0]);
}

#[test]
fn offline_is_offline() {
    let server = Server::with(MODEL);
    let user = User::of(&server.address());
    let words = [ID, "not in the cache", "once without --offline"];
    user.types(&format!("inspect {ID} --offline")).failed(1, &words);
    let mut command = user.command(["inspect", ID]);
    command.env("HF_HUB_OFFLINE", "1");
    run(command).failed(1, &words);
    assert_eq!(server.asked().len(), 0);

    user.types(&format!("inspect {ID}")).ok();
    fs::remove_file(user.snapshot(COMMIT).join("model.safetensors")).expect("it was there");
    user.types(&format!("inspect {ID} --offline")).failed(1, &["model.safetensors is not in the cache"]);
}

#[test]
fn without_a_network_the_cache_serves() {
    let server = Server::with(MODEL);
    let user = User::of(&server.address());
    let stranger = User::of(&server.address());
    let before = user.types(&format!("inspect {ID} --json")).json();
    drop(server);
    stranger.types(&format!("inspect {ID}")).failed(1, &["cannot reach http://127.0.0.1", "HF_ENDPOINT", "--offline"]);
    let run = user.types(&format!("inspect {ID} --json")).ok();
    assert!(run.stderr.contains("cannot reach") && run.stderr.contains("cache"), "{run:?}");
    assert_eq!(run.json(), before);
    let nowhere = User::of("nowhere at all");
    nowhere.types(&format!("inspect {ID}")).failed(2, &["HF_ENDPOINT", "nowhere at all"]);
}
