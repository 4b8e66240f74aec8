//! The page about a quantization: well-formed, whole, harmless whatever a model's names are, and true to the record.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use bitsmith::eval::EvalRequest;
use bitsmith::export::{
    BlockRecord, Calibration, CodesFrom, HeldOut, ImportanceRecord, LayerRecord, Method, Observed, Quality, Record,
    SearchGoal, SearchMemory, SearchPhase, SearchQuality, SearchRecord, SearchStep, SearchedLayer, Sizes, Spread,
};
use bitsmith::op::LayerInput;
use bitsmith::quant::{Outcome, QuantizeRequest, Rtn, RtnConfig, quantize_model};
use bitsmith::report::html::{self, ReportFile, RunFacts};
use bitsmith::{Device, Error, progress::Silent, report};
use roxmltree::{Document, Node};
use serde_json::json;

/// Bytes of the page about a model of [`DEEP`] layers, and of one of many more: what a browser opens at once.
const MOST_BYTES: usize = 8 << 20;
const DEEP: usize = 2000;

/// Names that would break a page that trusted them.
const HOSTILE: [&str; 9] = [
    "<script>alert(1)</script>",
    "</title></style></code><b>",
    "a&b\"c'd",
    "\" onmouseover=\"alert(1)",
    "größe.層.🦀",
    "\u{202e}tfel-ot-thgir",
    "line\nbreak\ttab\0nul\u{1b}[31m\u{ffff}",
    "http://example.org/x.png",
    "",
];

fn layer(path: &str) -> LayerRecord {
    LayerRecord {
        path: path.into(),
        shape: [8, 64],
        scheme: "w4g32s".parse().unwrap(),
        input: LayerInput::Exact,
        observed: None,
        mse: 1.234_567_890_123e-5,
        sqnr_db: Some(20.123_456_789),
        cosine: Some(0.987_654_321_987),
        bytes: 304,
    }
}

fn outcome(layers: Vec<LayerRecord>) -> Outcome {
    let record = Record {
        bitsmith: "0.1.0".into(),
        method: Method { name: "rtn".into(), settings: json!({"range": "full-range", "bits": 4}) },
        model: "stories".into(),
        sizes: Sizes { original_bytes: 5504, quantized_bytes: 736, bits_per_weight: 4.75 },
        kept: vec!["lm_head.weight".into()],
        quality: None,
        calibration: None,
        blocks: Vec::new(),
        search: None,
        layers,
    };
    Outcome { record, evaluation: None, resumed: 0, notes: Vec::new() }
}

/// What was observed stands in both reports, and nothing of it where nothing was.
#[test]
fn what_was_observed_is_told() {
    let plain = outcome(vec![layer("a.q")]);
    assert!(!report::quantization(&plain).contains("symmetry"));
    assert!(!html::quantization(&plain, &facts()).contains("What was observed"));
    let spread = |mean, symmetry| Spread { mean, deviation: 2.5, symmetry };
    let observed = Some(Observed { input: spread(0.125, 0.951), output: spread(-3.0, 0.301) });
    let input = LayerInput::Static { scale: 0.0625, zero: -7 };
    let seen = outcome(vec![LayerRecord { input, observed, ..layer("a.q") }]);
    let summary = report::quantization(&seen);
    for words in ["0.125", "0.951", "-3.00", "0.301", "scale 6.2500e-2, zero -7", "w4g32s"] {
        assert!(summary.contains(words), "{words} is not in: {summary}");
    }
    let page = html::quantization(&seen, &facts());
    let document = parsed(&page, |document| section(document, "What was observed").map(text)).expect("a section");
    assert!(document.contains("0.951") && document.contains("zero -7"), "{document}");
}

fn facts() -> RunFacts {
    RunFacts {
        command: ["bitsmith", "quantize", "my <model>"].map(String::from).into(),
        device: "CPU".into(),
        seconds: 61.0,
        finished: UNIX_EPOCH + Duration::from_secs(1_795_276_800),
    }
}

/// The page as XML, in which every tag must be closed. What HTML alone writes in its own way, the first line and the
/// `meta` elements, is put as XML has it.
fn parsed<T>(page: &str, read: impl FnOnce(&Document<'_>) -> T) -> T {
    let page = page.strip_prefix("<!DOCTYPE html>").expect("it begins as HTML");
    let page = regex::Regex::new("<meta ([^<>]*)>").unwrap().replace_all(page, "<meta $1/>");
    let document = Document::parse(&page).unwrap_or_else(|e| panic!("{e}"));
    assert_harmless(document.root());
    read(&document)
}

/// Nothing that loads or runs anything.
fn assert_harmless(root: Node<'_, '_>) {
    const ELEMENTS: [&str; 32] = [
        "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "div", "h1", "h2",
        "h3", "p", "b", "bdi", "code", "pre", "span", "data", "ul", "ol", "li", "table", "thead", "tbody", "tr", "th",
        "td", "svg", "rect",
    ];
    const DRAWING: [&str; 5] = ["g", "text", "line", "polyline", "circle"];
    for node in root.descendants().filter(Node::is_element) {
        let name = node.tag_name().name();
        assert!(ELEMENTS.contains(&name) || DRAWING.contains(&name), "<{name}> is on the page");
        for attribute in node.attributes() {
            let (name, value) = (attribute.name(), attribute.value());
            let loads = ["href", "src", "srcset", "action", "data", "poster", "ping", "background"].contains(&name);
            assert!(!loads && !name.starts_with("on"), "{name}={value}");
            assert!(name != "style" || value.starts_with("fill:#"), "style={value}");
        }
    }
    let styles: Vec<_> = root.descendants().filter(|n| n.has_tag_name("style")).collect();
    assert!(matches!(styles[..], [style] if ["url(", "@import", "http"].iter().all(|w| !text(style).contains(w))));
}

fn text(node: Node<'_, '_>) -> String {
    node.descendants().filter(Node::is_text).filter_map(|text| text.text()).collect()
}

/// The section under a heading.
fn section<'a, 'i>(document: &'a Document<'i>, heading: &str) -> Option<Node<'a, 'i>> {
    let found = document.descendants().filter(|node| node.has_tag_name("h2"));
    found.filter(|node| text(*node) == heading).find_map(|node| node.parent())
}

/// The rows of the table of layers: text of each cell, and its exact value where it has one.
fn rows(document: &Document<'_>) -> Vec<Vec<(String, Option<f64>)>> {
    let layers = section(document, "Layers").expect("a table of layers");
    let body = layers.descendants().find(|node| node.has_tag_name("tbody")).expect("a table");
    let value = |cell: Node<'_, '_>| {
        let data = cell.descendants().find(|node| node.has_tag_name("data"))?;
        data.attribute("value")?.parse().ok()
    };
    let cells = |row: Node<'_, '_>| row.children().filter(Node::is_element).map(|c| (text(c), value(c))).collect();
    body.children().filter(Node::is_element).map(cells).collect()
}

fn assert_rows(document: &Document<'_>, record: &Record) {
    let rows = rows(document);
    assert_eq!(rows.len(), record.layers.len());
    for (row, layer) in rows.iter().zip(&record.layers) {
        let [rows, cols] = layer.shape;
        assert_eq!(row[0].0, layer.path);
        assert_eq!(row[1].0, format!("{rows} × {cols}"));
        assert_eq!(row[2].0, layer.scheme.to_string());
        assert_eq!(row[3].1, layer.sqnr_db);
        assert_eq!((row[4].1, row[5].1), (Some(layer.mse), layer.cosine));
        assert_eq!(row[6].1, Some(layer.bytes as f64));
    }
}

#[test]
fn the_page_says_what_the_record_says() {
    let folder = tempfile::tempdir().unwrap();
    let (device, start) = (Device::cpu(), Instant::now());
    let text_request = EvalRequest {
        text: "examples/tiny-llama/validation.txt".into(),
        window: Some(32),
        max_tokens: Some(256),
        ..Default::default()
    };
    let request = QuantizeRequest::new("examples/tiny-llama", folder.path().join("w3")).quality(text_request);
    let rtn = Rtn::new(RtnConfig { bits: 3, ..Default::default() }).unwrap();
    let outcome = pollster::block_on(quantize_model(&device, &rtn, &request, &mut Silent)).unwrap();
    let record = Record::read(&folder.path().join("w3")).unwrap();
    let page = html::quantization(&outcome, &RunFacts::new(&device, start).command(["it's", "typed"]));
    parsed(&page, |document| {
        assert_rows(document, &record);
        let exact: Vec<f64> = document.descendants().filter_map(|n| n.attribute("value")?.parse().ok()).collect();
        let (quality, kl) = (record.quality.clone().unwrap(), outcome.evaluation.clone().unwrap().kl.unwrap());
        for value in [
            record.sizes.original_bytes as f64,
            record.sizes.quantized_bytes as f64,
            record.sizes.bits_per_weight,
            quality.perplexity_before,
            quality.perplexity_after,
            kl.kl_mean,
            kl.kl_median,
            kl.kl_p90,
            kl.kl_p95,
            kl.kl_p99,
            kl.kl_max,
            kl.top1_agreement,
        ] {
            assert!(exact.contains(&value), "{value} is not on the page");
        }
        let kept = text(section(document, "Kept as they were").unwrap());
        assert!(record.kept.iter().all(|name| kept.contains(name)));
        // A map of four blocks by seven kinds, every layer with its path where one hovers.
        let pictures = section(document, "Error per layer").unwrap();
        let hints: Vec<_> = pictures.descendants().filter(|n| n.has_tag_name("title")).map(text).collect();
        assert_eq!(hints.len(), 28);
        assert!(record.layers.iter().all(|l| hints.iter().any(|h| h.starts_with(&format!("{}: ", l.path)))));
        let origin = text(section(document, "How it was made").unwrap());
        for words in ["'it'\\''s' typed", "w3g128s", "full-range", "group_size", "half-even", env!("CARGO_PKG_VERSION")]
        {
            assert!(origin.contains(words), "`{words}` is not in {origin}");
        }
        assert!(text(section(document, "Notes").unwrap()).contains("3-bit"));
    });
}

#[test]
fn hostile_names_are_only_text() {
    let mut outcome = outcome(HOSTILE.map(layer).into());
    // As blocks and kinds of a map, too.
    let inside = |block| HOSTILE.map(|name| layer(&format!("{name}.{block}.{name}"))).into_iter();
    outcome.record.layers.extend(inside(0).chain(inside(1)));
    outcome.record.kept = HOSTILE.map(String::from).into();
    outcome.record.model = HOSTILE.concat();
    outcome.record.method.name = HOSTILE[0].into();
    outcome.record.method.settings = json!({ (HOSTILE[1]): HOSTILE[2], "list": HOSTILE });
    outcome.notes = HOSTILE.map(|name| format!("warning: {name}")).into();
    let facts = RunFacts { command: HOSTILE.map(String::from).into(), device: HOSTILE[3].into(), ..facts() };
    // No argument holds a NUL.
    let facts = RunFacts { command: facts.command.into_iter().filter(|w| !w.contains('\0')).collect(), ..facts };
    let page = html::quantization(&outcome, &facts);
    assert!(!page.contains(['\0', '\u{1b}', '\u{ffff}']));
    parsed(&page, |document| {
        let rows = rows(document);
        assert_eq!(rows.len(), 27);
        assert_eq!(rows[0][0].0, HOSTILE[0]);
        assert_eq!(rows[5][0].0, "\u{fffd}tfel-ot-thgir");
        assert_eq!(rows[6][0].0, "line␊break␉tab␀nul␛[31m\u{fffd}");
        let command = document.descendants().find(|n| n.has_tag_name("pre")).map(text).unwrap();
        assert_eq!(command, facts.command_line().unwrap());
    });
}

/// A search that tried every layer twice, and rolled back every fifth step.
fn search(paths: &[String]) -> SearchRecord {
    let scheme = |i: usize| ["w8g128s", "w4g32s", "w3g64s", "w2g16s"][i % 4].parse().expect("a scheme");
    let codes = |i: usize| [CodesFrom::Rtn, CodesFrom::Searched, CodesFrom::Learned][i % 3];
    let layer = |(i, path): (usize, &String)| SearchedLayer {
        path: path.clone(),
        scheme: scheme(i),
        codes: codes(i),
        bytes: 1000 + i as u64,
    };
    let step = |(i, path): (usize, &String)| {
        let back = i % 5 == 4;
        let rise = i as f64 * 0.05 / (2 * paths.len()) as f64 + if back { 0.3 } else { 0.0 };
        SearchStep {
            phase: [SearchPhase::Walk, SearchPhase::Upgrade, SearchPhase::Downgrade][i * 3 / (2 * paths.len())],
            layers: vec![path.clone()],
            from: (i >= paths.len()).then(|| scheme(0)),
            to: scheme(i),
            codes: codes(i),
            predicted: None,
            measured: SearchQuality::new(if i == 9 { f64::INFINITY } else { 8.0 * (1.0 + rise) }, rise),
            bytes: 40_000_000 - 1000 * i as u64,
            rolled_back: back.then(|| format!("perplexity +30 %, over the budget, by {path}")),
        }
    };
    let importance = |measure: &str| ImportanceRecord {
        measure: measure.into(),
        unit: "nats a token".into(),
        values: paths.iter().enumerate().map(|(i, path)| (path.clone(), (i * i % 17) as f64)).collect(),
    };
    SearchRecord {
        goal: SearchGoal { max_perplexity_increase: Some(0.05), max_kl: Some(0.06), layer_bytes: None },
        original_perplexity: 8.0,
        layers: paths.iter().enumerate().map(layer).collect(),
        importance: ["rtn", "upgrade", "gradient"].map(importance).into(),
        steps: paths.iter().chain(paths).enumerate().map(step).collect(),
        memory: SearchMemory { before: 900_000, after: 400_000, peak: Some(7_000_000) },
        held_out: Some(HeldOut {
            samples: 20,
            tokens: 5100,
            original_perplexity: 9.0,
            quality: SearchQuality::new(9.36, 0.02),
            within_budget: Some(true),
        }),
        seconds: 61.5,
    }
}

#[test]
fn a_search_is_told_of() {
    let paths: Vec<String> =
        (0..20).map(|i| format!("m.layers.{}.{}", i / 4, ["q_proj", "k_proj", "up", "down"][i % 4])).collect();
    let mut searched = outcome(paths.iter().map(|path| layer(path)).collect());
    searched.record.search = Some(search(&paths));
    let summary = report::quantization(&searched);
    for words in
        ["perplexity at most 5.00 % higher, KL at most", "5 x w4g32s", "32 kept, 8 rolled back", "+4.00 %", "within"]
    {
        assert!(summary.contains(words), "{words} is not in: {summary}");
    }
    let page = html::quantization(&searched, &facts());
    parsed(&page, |document| {
        let plan = section(document, "Plan").expect("a plan");
        // The strip, its track, and the map.
        let bars = plan.descendants().filter(|node| node.has_tag_name("rect")).count();
        assert!(bars > 2 * paths.len(), "{bars}");
        let path = section(document, "Path of the search").expect("pictures");
        let marks = |class| path.descendants().filter(|node| node.attribute("class") == Some(class)).count();
        // Perplexity, divergence, bytes.
        assert_eq!((marks("kept"), marks("back"), marks("limit")), (3 * 32, 3 * 8, 2));
        let back = text(section(document, "Rolled back").expect("a table"));
        assert_eq!(back.matches("over the budget").count(), 8);
        assert!(text(section(document, "Memory of the search").expect("bars")).contains("7.00 MB"));
        assert!(section(document, "Importance by measure").is_some() && section(document, "Steps").is_some());
    });
    // Whatever the names, and however many.
    searched.record.search = Some(search(&HOSTILE.map(String::from)));
    parsed(&html::quantization(&searched, &facts()), |document| assert!(section(document, "Steps").is_some()));
    let many: Vec<String> = (0..DEEP).map(|i| format!("model.layers.{}.self_attn.{}", i / 4, i % 4)).collect();
    searched.record.search = Some(search(&many));
    let page = html::quantization(&searched, &facts());
    assert!(page.len() < MOST_BYTES, "{}", page.len());
}

#[test]
fn one_layer_makes_a_page_and_so_do_thousands() {
    let one = outcome(vec![layer("fc1")]);
    parsed(&html::quantization(&one, &facts()), |document| {
        assert_rows(document, &one.record);
        assert!(section(document, "Notes").is_none() && section(document, "Quality").is_none());
        assert!(text(document.root_element()).contains("not measured"));
    });
    let none = outcome(Vec::new());
    parsed(&html::quantization(&none, &facts()), |document| assert_rows(document, &none.record));

    const KINDS: [&str; 4] = ["self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj", "mlp.down_proj"];
    let paths = |layers: usize| (0..layers).map(|i| format!("model.layers.{}.{}", i / 4, KINDS[i % 4]));
    let deep = outcome(paths(DEEP).map(|path| layer(&path)).collect());
    let page = html::quantization(&deep, &facts());
    assert!(page.len() < MOST_BYTES, "{}", page.len());
    parsed(&page, |document| assert_rows(document, &deep.record));
}

#[test]
fn blocks_are_told_of() {
    let mut trained = outcome(vec![layer("fc1")]);
    let block = |index, loss_before| BlockRecord {
        index,
        loss_before,
        loss_after: Some(0.25),
        best_iteration: Some(7),
        seconds: 1.5,
    };
    trained.record.blocks = vec![block(0, Some(0.5)), block(1, None)];
    trained.record.calibration =
        Some(Calibration { samples: 8, seq_len: 32, digest: "00112233445566ff".parse().unwrap(), text: None });
    parsed(&html::quantization(&trained, &facts()), |document| {
        let section = section(document, "Loss of each block").expect("a table of blocks");
        let text = text(section);
        assert!(["0.5", "0.25", "50.0", "unknown", "7", "1.5"].iter().all(|word| text.contains(word)), "{text}");
    });
    let text = bitsmith::report::quantization(&trained);
    assert!(text.contains("unknown -> 0.25") && text.contains("2 blocks, 1.5 s each"), "{text}");
    // A file that was written before there were blocks.
    let folder = tempfile::tempdir().unwrap();
    trained.record.write(folder.path()).unwrap();
    assert_eq!(Record::read(folder.path()).unwrap(), trained.record);
    let file = folder.path().join(Record::FILE);
    let mut old: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for field in ["blocks", "calibration"] {
        assert!(old.as_object_mut().unwrap().remove(field).is_some());
    }
    std::fs::write(&file, old.to_string()).unwrap();
    let read = Record::read(folder.path()).unwrap();
    assert!(read.blocks.is_empty() && read.calibration.is_none());
    trained.record.blocks[0].loss_after = Some(f64::NAN);
    assert!(trained.record.write(folder.path()).unwrap_err().to_string().contains("loss_after"));
}

#[test]
fn a_page_is_bounded_and_keeps_the_worst() {
    let experts = |i: usize| format!("model.layers.{}.experts.{}.{}{}", i / 256, i % 256, "up", "_".repeat(500));
    let mut huge = outcome((0..50_000).map(|i| layer(&experts(i))).collect());
    huge.record.layers[777].sqnr_db = Some(1.5);
    huge.record.kept = (0..50_000).map(|i| format!("{i}{}", "k".repeat(10_000))).collect();
    huge.notes = vec!["note: x".repeat(10_000); 1000];
    let page = html::quantization(&huge, &facts());
    assert!(page.len() < MOST_BYTES, "{}", page.len());
    parsed(&page, |document| {
        let rows = rows(document);
        assert!((2000..10_000).contains(&rows.len()), "{}", rows.len());
        assert!(rows.iter().any(|row| row[3].1 == Some(1.5)));
        assert!(text(document.root_element()).contains("of 50 000 layers"));
    });
}

#[test]
fn values_that_are_no_numbers_are_words() {
    let mut odd = outcome(["model.h.0.a", "model.h.0.b", "model.h.1.a", "model.h.1.b", "c"].map(layer).into());
    let layers = &mut odd.record.layers;
    (layers[0].mse, layers[0].sqnr_db, layers[0].cosine) = (f64::NAN, Some(f64::NAN), Some(f64::INFINITY));
    (layers[1].mse, layers[1].sqnr_db, layers[1].cosine) = (0.0, None, None);
    (layers[2].mse, layers[2].sqnr_db) = (f64::INFINITY, None);
    layers[3].sqnr_db = Some(f64::NEG_INFINITY);
    odd.record.sizes = Sizes { original_bytes: 0, quantized_bytes: 0, bits_per_weight: f64::NAN };
    odd.record.quality =
        Some(Quality { perplexity_before: 3.0, perplexity_after: f64::INFINITY, kl: serde_json::Value::Null });
    let facts = RunFacts { seconds: f64::NAN, finished: UNIX_EPOCH - Duration::from_secs(1 << 40), ..facts() };
    let page = html::quantization(&odd, &facts);
    parsed(&page, |document| {
        let rows = rows(document);
        let cells = |row: usize| rows[row][3..6].iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>();
        assert_eq!(cells(0), ["not a number", "not a number", "infinite"]);
        assert_eq!(cells(1), ["exact", "0.000e0", "none"]);
        assert_eq!(cells(2), ["no signal", "infinite", "0.987654"]);
        assert_eq!(cells(3)[0], "minus infinite");
        let svg = document.descendants().filter(|n| n.has_tag_name("rect")).flat_map(|n| n.attributes());
        for attribute in svg {
            assert!(!["NaN", "inf"].contains(&attribute.value()), "{attribute:?}");
        }
    });
}

#[test]
fn a_report_takes_its_place_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| std::fs::write(at(name), text).unwrap();
    let files = || {
        let entries = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap());
        entries.map(|e| e.file_name().into_string().unwrap()).map(|n| (n, ())).collect::<BTreeMap<_, _>>()
    };
    ReportFile::check(&at("new.html")).unwrap();
    assert!(files().is_empty(), "a check leaves nothing");

    let page = html::quantization(&outcome(vec![layer("fc1")]), &facts());
    write("empty.html", "");
    for name in ["new.html", "new.html", "empty.html"] {
        ReportFile::check(&at(name)).unwrap().write(&page).unwrap();
        assert_eq!(std::fs::read_to_string(at(name)).unwrap(), page);
    }
    write("letter.txt", "dear friend");
    std::fs::create_dir(at("folder")).unwrap();
    for (name, words) in [
        ("letter.txt", "no HTML page"),
        ("folder", "is no file"),
        ("absent/report.html", "no folder"),
        ("letter.txt/report.html", "cannot be written"),
        ("..", "is no file"),
        ("", "is no file"),
    ] {
        match ReportFile::check(&at(name)) {
            Err(Error::Config { field, detail }) => assert!(field == "report" && detail.contains(words), "{detail}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(std::fs::read_to_string(at("letter.txt")).unwrap(), "dear friend");
    assert!(ReportFile::check(Path::new("")).is_err());
    assert_eq!(files().into_keys().collect::<Vec<_>>(), ["empty.html", "folder", "letter.txt", "new.html"]);
}

/// The file that a link leads to is replaced, not the link; what is no file is left alone.
#[cfg(unix)]
#[test]
fn links_are_followed_and_devices_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (target, link) = (folder.path().join("target.html"), folder.path().join("link.html"));
    std::fs::write(&target, "<!doctype HTML><p>old").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    ReportFile::check(&link).unwrap().write("<!DOCTYPE html>new").unwrap();
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "<!DOCTYPE html>new");
    assert!(link.is_symlink());
    assert!(matches!(ReportFile::check("/dev/null".as_ref()), Err(Error::Config { .. })));
}
