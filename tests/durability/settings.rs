//! What was finished for another model or with other settings is not gone on with.

use std::fs;

use bitsmith::quant::{QuantizeRequest, Rtn, RtnConfig, quantize_model};
use bitsmith::scheme::Plan;
use bitsmith::{Device, Error, progress::Silent};

use crate::program::Place;
use crate::{Tests, complete, model, place, place_with_own_model};

pub const TESTS: Tests = &[
    ("other settings are refused and named", other_settings),
    ("another plan is refused and named", other_plan),
    ("another model is refused and named", other_model),
    ("without --resume it starts again", started_again),
    ("with nothing to resume it just starts", nothing_to_resume),
];

/// Fails unless resuming is refused with these words and changes nothing.
fn refused(place: &Place, more: &[&str], words: &[&str]) {
    let (journal, lines) = (fs::read(place.partial().join("journal")).unwrap(), place.finished());
    place.run(&[&["--resume"], more].concat()).failed(2, words).says(&["--resume: ", "start again without"]);
    assert!(fs::read(place.partial().join("journal")).unwrap() == journal && lines > 0);
    assert!(!place.out().exists());
}

fn other_settings() {
    let mut place = place();
    place.killed_in_the_middle();
    refused(&place, &["--bits", "3"], &["bits was 4 and is 3"]);
    refused(&place, &["--skip", "layers.03.mlp.down_proj"], &["layers.03.mlp.down_proj was w4g64s and is kept"]);
    refused(&place, &["--rounding", "half-away"], &["rounding was", "half-away"]);
    let arguments = std::mem::replace(&mut place.arguments, vec!["--device", "cpu", "--group-size", "64"]);
    refused(&place, &["--shard-size", "2MB"], &["the shard size was 1000000 and is 2000000"]);
    place.arguments = arguments;
    assert!(place.run(&["--resume"]).ok().resumed() > 0);
    complete(&place);
}

fn other_plan() {
    let place = place();
    place.killed_in_the_middle();
    let mut plan = Plan::default();
    plan.insert("model.layers.00.self_attn.q_proj", "w8g64s".parse().unwrap());
    let mut request = QuantizeRequest::new(&crate::UNBROKEN.model, place.out()).resume();
    (request.plan, request.shard_size) = (Some(plan), 1_000_000);
    let method = Rtn::new(RtnConfig { group_size: "64".parse().unwrap(), ..Default::default() }).unwrap();
    let refused = pollster::block_on(quantize_model(&Device::cpu(), &method, &request, &mut Silent));
    let Err(Error::Config { field, detail }) = refused else { panic!("{refused:?}") };
    assert_eq!(field, "resume");
    assert!(detail.contains("model.layers.00.self_attn.q_proj was w4g64s and is w8g64s"), "{detail}");
    // Its own plan is that of the run.
    request.plan = None;
    let done = pollster::block_on(quantize_model(&Device::cpu(), &method, &request, &mut Silent)).unwrap();
    assert!(done.resumed > 0);
    complete(&place);
}

fn other_model() {
    let (folder, place) = place_with_own_model();
    place.killed_in_the_middle();
    let model = folder.path().join("model");
    let last = model::shards(&model).pop().unwrap();
    let (bytes, time) = (fs::read(&last).unwrap(), fs::metadata(&last).unwrap().modified().unwrap());
    let write = |bytes: &[u8]| {
        fs::write(&last, bytes).unwrap();
        fs::File::options().write(true).open(&last).unwrap().set_modified(time).unwrap();
    };
    let name = last.file_name().unwrap().to_str().unwrap();
    // One byte of data: the time tells.
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&last, &changed).unwrap();
    refused(&place, &[], &[name, "was changed"]);
    // A byte of the header, with the time set back: its checksum tells.
    let mut changed = bytes.clone();
    let quote = changed.windows(6).position(|w| w == b"\"pt\"},").unwrap();
    changed[quote + 1] = b'q';
    write(&changed);
    refused(&place, &[], &[name, "was changed"]);
    write(&bytes);
    let config = model.join("config.json");
    let before = fs::read(&config).unwrap();
    fs::write(&config, r#"{"model_type": "llama", "hidden_size": 256}"#).unwrap();
    refused(&place, &[], &["config.json of the model was changed"]);
    fs::write(&config, before).unwrap();
    assert!(place.run(&["--resume"]).ok().resumed() > 0);
    complete(&place);
}

fn started_again() {
    let place = place();
    place.killed_in_the_middle();
    assert_eq!(place.run(&[]).ok().says(&["an unfinished run", "thrown away"]).resumed(), 0);
    complete(&place);
    // What is not ours is left alone.
    fs::create_dir(place.partial()).unwrap();
    fs::write(place.partial().join("notes.txt"), "mine").unwrap();
    fs::rename(place.out(), place.path().join("moved")).unwrap();
    place.run(&[]).failed(2, &[".out.partial", "remove it yourself"]);
    assert_eq!(fs::read(place.partial().join("notes.txt")).unwrap(), b"mine");
}

fn nothing_to_resume() {
    let place = place();
    assert_eq!(place.run(&["--resume"]).ok().says(&["nothing to resume"]).resumed(), 0);
    complete(&place);
    place.run(&["--resume"]).failed(2, &["exists"]);
    complete(&place);
}
