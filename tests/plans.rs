//! Plans, skip patterns and the record of a run: what people write and read.

use bitsmith::export::{BlockRecord, Calibration, LayerRecord, Method, Observed, Quality, Record, Sizes, Spread};
use bitsmith::io::TextFacts;
use bitsmith::op::LayerInput;
use bitsmith::progress::Silent;
use bitsmith::quant::{QuantizeRequest, Rtn, RtnConfig, quantize_model};
use bitsmith::scheme::{Pattern, Plan, SkipList};
use bitsmith::{Device, Scheme};
use serde_json::json;

const DOWN: &str = "model.layers.3.mlp.down_proj";

#[test]
fn patterns_match_whole_paths_ends_and_expressions() {
    for (pattern, matches) in [
        (DOWN, true),
        ("down_proj", true),
        ("mlp.down_proj", true),
        ("own_proj", false),
        ("model.layers.3", false),
        ("up_proj", false),
        (".down_proj", false),
        ("re:model", true),
        ("re:.*down", true),
        ("re:down_proj", false),
        (r"re:model\.layers\.[0-2]\.", false),
        ("re:a|model", true),
        ("re:mlp|.*x", false),
    ] {
        assert_eq!(Pattern::parse(pattern).unwrap().matches(DOWN), matches, "{pattern}");
    }
}

#[test]
fn unusable_patterns_are_named() {
    for pattern in ["", "re:", "re:(", "re:a{1000}{1000}{1000}", "re:(?!lm_head)"] {
        let text = Pattern::parse(pattern).unwrap_err().to_string();
        assert!(text.contains(&format!("`{pattern}`")), "{text}");
    }
}

#[test]
fn a_skip_list_counts_every_pattern_that_matches() {
    let patterns = ["down_proj", "re:.*mlp", "lm_head", "q_proj"].map(String::from);
    let mut skip = SkipList::new(&patterns).unwrap();
    assert_eq!(skip.unmatched().len(), 4);
    assert!(skip.matches(DOWN));
    assert!(skip.matches("lm_head"));
    assert!(!skip.matches("model.layers.3.self_attn.k_proj"));
    assert_eq!(skip.unmatched(), ["q_proj"]);
    assert!(SkipList::new(&["re:[".into()]).is_err());
}

#[test]
fn a_plan_keeps_its_order_and_its_layers_unique() {
    let mut plan = Plan::default();
    assert!(plan.is_empty() && plan.uniform().is_none());
    let (four, eight) = ("w4g128s".parse().unwrap(), "w8cs".parse().unwrap());
    assert_eq!(plan.insert("layers.10.q", four), None);
    assert_eq!(plan.insert("layers.2.q", four), None);
    assert_eq!(plan.uniform(), Some(four));
    assert_eq!(plan.insert("layers.10.q", eight), Some(four));
    assert_eq!(plan.iter().collect::<Vec<_>>(), [("layers.10.q", eight), ("layers.2.q", four)]);
    assert_eq!((plan.len(), plan.uniform(), plan.schemes()), (2, None, vec![eight, four]));
    assert_eq!((plan.get("layers.2.q"), plan.get("layers.3.q")), (Some(four), None));

    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(text, r#"{"layers":{"layers.10.q":"w8cs","layers.2.q":"w4g128s"}}"#);
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
}

#[test]
fn malformed_plans_are_refused_by_layer() {
    for (text, word) in [
        (r#"{"layers":{"a.q":"w5g128s"}}"#, "a.q"),
        (r#"{"layers":{"a.q":7}}"#, "a.q"),
        (r#"{"layers":{"a.q":"w4cs","a.q":"w8cs"}}"#, "twice"),
        (r#"{"layers":{},"layer":{}}"#, "layer"),
        (r#"{"layers":[]}"#, "layer paths"),
        (r#"{}"#, "layers"),
    ] {
        let error = serde_json::from_str::<Plan>(text).unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
}

fn record() -> Record {
    let layer = LayerRecord {
        path: "a.q".into(),
        shape: [8, 172],
        scheme: "w4g128s".parse().unwrap(),
        // Its last bit as well.
        input: LayerInput::Static { scale: 0.012_345_679, zero: -77 },
        observed: Some(Observed {
            input: Spread { mean: 0.25, deviation: 1.5, symmetry: 0.846_481_724_890_614 },
            output: Spread { mean: -0.5, deviation: 2.0, symmetry: 0.778_800_783_071_404_9 },
        }),
        // Read carelessly, its last bit changes.
        mse: 0.000_234_374_109_444_009_58,
        sqnr_db: Some(20.5),
        cosine: None,
        bytes: 736,
    };
    Record {
        bitsmith: "0.1.0".into(),
        method: Method { name: "rtn".into(), settings: json!({"range": "full-range"}) },
        model: "stories".into(),
        calibration: Some(Calibration {
            samples: 8,
            seq_len: 32,
            digest: "00112233445566ff".parse().unwrap(),
            text: Some(TextFacts { source: "a.txt".into(), documents: 2, tokens: 300, sha256: "ab".into() }),
        }),
        layers: vec![layer],
        blocks: vec![BlockRecord {
            index: 0,
            loss_before: Some(0.5),
            loss_after: Some(0.25),
            best_iteration: Some(3),
            seconds: 1.5,
        }],
        search: None,
        kept: vec!["lm_head.weight".into()],
        sizes: Sizes { original_bytes: 5504, quantized_bytes: 736, bits_per_weight: 4.28 },
        quality: Some(Quality { perplexity_before: 3.8, perplexity_after: 3.9, kl: json!({"mean": 0.01}) }),
    }
}

#[test]
fn a_record_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    for (quality, calibration) in [(None, None), (record().quality, record().calibration)] {
        let record = Record { quality, calibration, ..record() };
        record.write(folder.path()).unwrap();
        assert_eq!(Record::read(folder.path()).unwrap(), record);
    }
}

#[test]
fn unusable_records_are_refused_by_field() {
    type Damage = fn(&mut Record);
    let damages: [(Damage, &str); 9] = [
        (|r| r.bitsmith.clear(), "bitsmith"),
        (|r| r.method.name.clear(), "method.name"),
        (|r| r.layers.push(r.layers[0].clone()), "a.q"),
        (|r| r.layers[0].shape = [8, 0], "a.q: shape"),
        (|r| r.layers[0].mse = f64::NAN, "a.q: mse"),
        (|r| r.layers[0].sqnr_db = Some(f64::INFINITY), "a.q: sqnr_db"),
        (|r| r.layers[0].cosine = Some(1.1), "a.q: cosine"),
        (|r| r.sizes.bits_per_weight = -1.0, "bits_per_weight"),
        (|r| r.quality.as_mut().unwrap().perplexity_after = f64::INFINITY, "perplexity_after"),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (damage, word) in damages {
        let mut record = record();
        damage(&mut record);
        let error = record.write(folder.path()).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains(Record::FILE), "{error}");
    }
    assert!(!folder.path().join(Record::FILE).exists());
    assert!(matches!(Record::read(folder.path()), Err(bitsmith::Error::Io { .. })));
    let mut text = serde_json::to_value(record()).unwrap();
    text["layers"][0]["scheme"] = json!("w9");
    std::fs::write(folder.path().join(Record::FILE), text.to_string()).unwrap();
    assert!(matches!(Record::read(folder.path()), Err(bitsmith::Error::Format { .. })));
}

/// vLLM fuses query, key and value, and gate and up: they must have one scheme.
#[test]
fn layers_that_a_reader_fuses_and_that_differ_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let quantized = |format: &str, strict: bool, plan: &[(&str, &str)]| {
        let plan = plan.iter().map(|(path, scheme)| (*path, scheme.parse::<Scheme>().unwrap())).collect();
        let request = QuantizeRequest {
            plan: Some(plan),
            format: format.to_owned(),
            strict,
            force: true,
            ..QuantizeRequest::new("examples/tiny-llama", folder.path().join("out"))
        };
        let rtn = Rtn::new(RtnConfig::default()).unwrap();
        pollster::block_on(quantize_model(&Device::cpu(), &rtn, &request, &mut Silent)).map(|done| done.notes)
    };
    let [q, k, v] = ["q", "k", "v"].map(|name| format!("model.layers.1.self_attn.{name}_proj"));
    let one = [(&q[..], "w4g32s"), (&k, "w4g32s"), (&v, "w4g32s")];
    let two = [one[0], (&k, "w8g32s"), one[2]];
    let told = |notes: &[String]| notes.iter().filter(|note| note.contains("vLLM fuses")).cloned().collect::<Vec<_>>();
    for format in ["compressed-tensors", "gptq"] {
        assert!(told(&quantized(format, true, &one).unwrap()).is_empty(), "{format}");
        for plan in [&two[..], &one[..2]] {
            let notes = told(&quantized(format, false, plan).unwrap());
            assert!(matches!(&notes[..], [note] if note.contains("1 time(s)") && note.contains("k_proj")), "{notes:?}");
            let error = quantized(format, true, plan).unwrap_err().to_string();
            assert!(error.contains("vLLM fuses"), "{error}");
        }
    }
    assert!(told(&quantized("mlx", false, &two).unwrap()).is_empty());
}
