//! Training, from a command line to folders and a page.

use std::fs;

use crate::{folder, typed};

const LINE: &str = "train examples/tiny-llama/config.json --out {}/new --device cpu --steps 3 --batch-size 2 --seq-len 16 \
    --text examples/tiny-llama/calibration.txt --max-documents 20 --documents <|endoftext|>";

#[test]
fn a_new_model_is_trained_packed_and_read_by_the_other_commands() {
    let folder = folder();
    let quantized = "--weights ternary --activations int8 --deploy {}/packed --report {}/page.html --json";
    let json = typed(&format!("{LINE} {quantized}"), folder.path()).json();
    assert_eq!(json["losses"].as_array().map(Vec::len), Some(3));
    assert_eq!((json["parameters"].as_u64(), json["from_scratch"].as_bool()), (Some(853_120), Some(true)));
    assert_eq!((json["settings"]["weights"].as_str(), json["seq_len"].as_u64()), (Some("ternary"), Some(16)));
    let page = fs::read_to_string(folder.path().join("page.html")).expect("a page");
    assert!(page.contains("polyline") && page.contains("nats a token"));
    let eval = "--text examples/tiny-llama/validation.txt --window 16 --max-tokens 64 --device cpu --json";
    assert!(typed(&format!("eval {{}}/new {eval}"), folder.path()).json()["perplexity"].as_f64() > Some(1.0));
    assert_eq!(typed(&format!("eval {{}}/packed {eval}"), folder.path()).json()["activations"], "int8");
    typed("generate {}/packed --prompt Once --max-tokens 2 --device cpu", folder.path()).ok();
    // From there, in words.
    let more = LINE.replace("examples/tiny-llama/config.json --out {}/new", "{}/new --out {}/more");
    let text = typed(&more, folder.path()).ok().stdout;
    assert!(text.contains("from a checkpoint, linear layers float") && text.contains("loss"), "{text}");
}

#[test]
fn what_cannot_be_used_is_named_by_its_flag() {
    let folder = folder();
    for (flags, words) in [
        ("--accumulate 0", &["--accumulate", "at least 1"][..]),
        ("--accumulate 2000000", &["--accumulate", "at most 1048576"]),
        ("--weights 5", &["--weights", "ternary"]),
        ("--activations int8", &["--activations", "--weights"]),
        ("--progressive 8,x", &["--progressive", "`x`"]),
        ("--deploy {}/packed", &["--deploy", "--weights"]),
        ("--deploy {}/new --weights 4", &["--deploy", "--out"]),
        ("--deploy {}/new/packed --weights 4", &["--deploy", "--out"]),
        ("--deploy {} --weights 4", &["--deploy", "--out"]),
        ("--lr nan", &["--lr", "NaN"]),
        ("--noise 0.5", &["--noise"]),
        ("--report {}/new/page.html", &["--report"]),
    ] {
        typed(&format!("{LINE} {flags}"), folder.path()).failed(2, words);
    }
    typed(&LINE.replace("config.json", "absent.json"), folder.path()).failed(1, &["absent.json"]);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

const FINETUNE: &str = "quantize examples/tiny-llama --out {}/out --device cpu --method ternary \
    --finetune examples/tiny-llama/calibration.txt --documents <|endoftext|>";

#[test]
fn a_model_is_trained_before_it_is_packed() {
    let folder = folder();
    let few = "--finetune-steps 2 --finetune-batch-size 1 --finetune-seq-len 16 --max-documents 1 --json";
    let json = typed(&format!("{FINETUNE} {few}"), folder.path()).json();
    let settings = &json["method"]["settings"];
    assert_eq!((settings["rule"].as_str(), settings["finetune"]["steps"].as_u64()), (Some("absmean"), Some(2)));
    // All of the text, whatever --max-documents says.
    assert_eq!(settings["finetune"]["text_documents"].as_u64(), Some(196));
    for (line, words) in [
        (FINETUNE.replace("--method ternary", ""), &["--finetune", "--method ternary"][..]),
        (format!("{FINETUNE} --rule twn"), &["--rule", "absmean"]),
        (format!("{FINETUNE} --finetune-steps 0"), &["--finetune-steps", "at least 1"]),
        (format!("{FINETUNE} --skip down_proj"), &["--skip"]),
        ("quantize examples/tiny-llama --out {}/x --method ternary --finetune-steps 3".into(), &["required"]),
    ] {
        typed(&line.replace("/out ", "/other "), folder.path()).failed(2, words);
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn a_classifier_is_trained_and_scored() {
    let folder = folder();
    let write = |name: &str, head: &[u8], body: &[u8]| {
        fs::write(folder.path().join(name), [head, body].concat()).expect("a new file");
    };
    // Images of two pixels; the class is which is lighter.
    let pixels: Vec<u8> = (0..80u8).flat_map(|i| if i % 2 == 0 { [i, 255 - i] } else { [200 - i, 3] }).collect();
    write("images", &[0, 0, 8, 2, 0, 0, 0, 80, 0, 0, 0, 2], &pixels);
    write("labels", &[0, 0, 8, 1, 0, 0, 0, 80], &[0, 1].repeat(40));
    write("mlp.json", br#"{"model_type": "mlp", "layers": [2, 8, 2], "activation": "relu"}"#, &[]);
    let images = "--images {}/images --labels {}/labels --device cpu";
    let line = format!("train {{}}/mlp.json --out {{}}/net {images} --epochs 20 --batch-size 8 --lr 0.05");
    let quantized = "--weights ternary --granularity channel --activations int8 --deploy {}/packed";
    let text = typed(&format!("{line} {quantized} --report {{}}/page.html"), folder.path()).ok().stdout;
    for words in [
        "from scratch, layers w1.58cs-f32 int8",
        "64, 20 epochs in steps of 8",
        "mean of the last 50 steps",
        "of 16 images held out",
        "packed in",
        "report in",
    ] {
        assert!(text.contains(words), "`{words}` is not in {text}");
    }
    let page = fs::read_to_string(folder.path().join("page.html")).expect("a page");
    for words in ["polyline", "nats an image", "images held out", "64 learned", "lr</th><td>0.05</td>", "--report"] {
        assert!(page.contains(words), "`{words}` is not in {page}");
    }
    let score = typed(&format!("eval {{}}/packed {images} --json"), folder.path()).json();
    assert_eq!((score["accuracy"].as_f64(), score["images"].as_u64()), (Some(1.0), Some(80)));
    let again = line.replace("{}/mlp.json --out {}/net", "{}/net --out {}/more");
    let json = typed(&format!("{again} --json"), folder.path()).json();
    assert_eq!((json["from_scratch"].as_bool(), json["resumed"].as_u64()), (Some(false), Some(0)));
    assert_eq!(json["losses"].as_array().map(Vec::len), Some(20 * 8));
    let other = line.replace("/net", "/other");
    for (line, words) in [
        // Also where it is typed as it would be anyway.
        (format!("{other} --steps 1000"), &["--steps", "--images"][..]),
        (format!("{other} --seq-len 8"), &["--seq-len", "--images"]),
        (format!("{other} --warmup 161"), &["--warmup", "160 steps"]),
        (format!("{other} --epochs 0").replacen("--epochs 20", "", 1), &["--epochs"]),
        (format!("{other} --deploy {{}}/p"), &["--deploy", "--weights"]),
        (format!("{other} --deploy {{}}/other/p --weights 4"), &["--deploy", "--out"]),
        (format!("{other} --granularity channel"), &["--granularity", "--weights"]),
        (format!("{other} --held-out 1"), &["--held-out"]),
        (format!("{other} --report {{}}/other/page.html"), &["--report"]),
        (format!("{other} --documents x"), &["required"]),
        (other.replace("--labels {}/labels", ""), &["required"]),
        (other.replace("--images {}/images --labels {}/labels --device cpu --epochs 20", ""), &["required"]),
    ] {
        typed(&line, folder.path()).failed(2, words);
    }
    typed(&other.replace("{}/mlp.json", "examples/tiny-llama/config.json"), folder.path()).failed(1, &["llama", "mlp"]);
}
