//! `--report`: the page, and that a place where none can be written is said before the work.

use std::fs;

use crate::{bitsmith, folder, listing, typed};

#[test]
fn a_report_comes_beside_one_json_object() {
    let folder = folder();
    let line = "quantize examples/tiny-llama --out {}/w4 --group-size 64 --device cpu --json --report {}/r.html";
    let json = typed(line, folder.path()).json();
    let page = fs::read_to_string(folder.path().join("r.html")).expect("the report is there");
    assert_eq!(json["report"].as_str(), folder.path().join("r.html").to_str());
    for layer in json["layers"].as_array().expect("a list") {
        let path = layer["path"].as_str().expect("a path");
        assert!(page.contains(&format!("<bdi>{path}</bdi>")), "{path}");
        assert!(page.contains(&format!("value=\"{}\"", layer["mse"])), "{}", layer["mse"]);
    }
    // The command, as it would be typed again.
    let command = format!(" --json --report {}</pre>", folder.path().join("r.html").display());
    assert!(page.contains(&command), "{command}");
    assert_eq!(listing(folder.path()), ["r.html", "w4"]);

    // An earlier report is replaced.
    let run = typed(&line.replace("w4", "w8").replace("--json", "--bits 8"), folder.path()).ok();
    assert!(run.stdout.contains("report in "), "{run:?}");
    let second = fs::read_to_string(folder.path().join("r.html")).expect("the report is there");
    assert!(second.contains("w8g64s") && !second.contains("w4g64s"));
    assert_eq!(listing(folder.path()), ["r.html", "w4", "w8"]);
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_the_work() {
    let folder = folder();
    fs::create_dir(folder.path().join("pages")).expect("a new folder");
    fs::write(folder.path().join("text.txt"), "to be kept").expect("a new file");
    for (report, words) in [
        ("{}/pages", "is no file"),
        ("{}/absent/r.html", "no folder"),
        ("{}/text.txt", "no HTML page"),
        ("{}/out/r.html", "--out"),
        ("{}/out", "--out"),
    ] {
        let line = format!("quantize examples/tiny-llama --out {{}}/out --device cpu --report {report}");
        typed(&line, folder.path()).failed(2, &["--report", words]);
    }
    assert_eq!(listing(folder.path()), ["pages", "text.txt"]);
    assert_eq!(fs::read_to_string(folder.path().join("text.txt")).expect("still there"), "to be kept");
}

/// A system folder in which not even root makes a file.
#[cfg(target_os = "linux")]
#[test]
fn a_report_in_an_unwritable_folder_is_refused_before_the_work() {
    let folder = folder();
    let out = folder.path().join("out");
    let out = out.to_str().expect("UTF-8 path");
    bitsmith(["quantize", crate::MODEL, "--out", out, "--device", "cpu", "--report", "/proc/r.html"])
        .failed(2, &["--report", "/proc/r.html"]);
    assert_eq!(listing(folder.path()), [""; 0]);
}
