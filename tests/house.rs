//! The house rules that a compiler does not check: layers point one way, no file grows past its use, every shader has
//! its twin, unsafe code stays where it is allowed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers from the ground up: a module may use only what stands before it.
const LAYERS: [&[&str]; 24] = [
    &["error", "dtype", "activation", "progress"],
    &["scheme"],
    &["random"],
    &["tensor"],
    &["pack"],
    &["dispatch"],
    &["kernel"],
    &["device"],
    &["check"],
    &["io"],
    &["hub"],
    &["op"],
    &["export"],
    &["model"],
    &["calib"],
    &["eval"],
    &["nn"],
    &["quant"],
    &["train"],
    &["search"],
    &["bench"],
    &["report"],
    &["cli"],
    &["main", "lib"],
];

/// Lines of a file: a sign to split it, not a law of nature.
const MAX_RUST_LINES: usize = 400;
const MAX_SHADER_LINES: usize = 200;

/// The files that may hold unsafe code, each with its reason at the top.
const UNSAFE: [&str; 9] = [
    "src/device/cuda/context.rs",
    "src/device/cuda/context/cublaslt.rs",
    "src/device/cuda/context/graph.rs",
    "src/device/cuda/driver.rs",
    "src/device/wgpu/experimental.rs",
    "src/io/map.rs",
    "src/kernel/fast/gemm.rs",
    "src/kernel/fast/simd/x86.rs",
    "src/kernel/fast/simd/x86_int8.rs",
];

/// Names that say nothing about what is inside.
const NO_NAMES: [&str; 5] = ["utils", "util", "helpers", "common", "misc"];

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn files(folder: &str, extension: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.retain(|p| p.extension().is_some_and(|e| e == extension));
    found.sort();
    let name = |p: &PathBuf| p.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
    found.iter().map(|p| (name(p), fs::read_to_string(p).unwrap())).collect()
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn layers_point_one_way() {
    let mut faults = Vec::new();
    for (file, text) in files("src", "rs") {
        let module = file["src/".len()..].split(['/', '.']).next().unwrap();
        let Some(own) = layer_of(module) else {
            faults.push(format!("{file}: module `{module}` stands in no layer"));
            continue;
        };
        for line in text.lines().filter(|l| !l.trim_start().starts_with("//")) {
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if used != module && layer_of(&used).is_some_and(|layer| layer > own) {
                    faults.push(format!("{file} uses {used}: {}", line.trim()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "references that point upward:\n{}", faults.join("\n"));
}

#[test]
fn no_file_is_long_and_no_name_is_empty_talk() {
    let rust = files("src", "rs").into_iter().map(|f| (f, MAX_RUST_LINES));
    let shaders = files("shaders", "wgsl").into_iter().map(|f| (f, MAX_SHADER_LINES));
    for ((file, text), limit) in rust.chain(shaders) {
        assert!(text.lines().count() <= limit, "{file} has {} lines; split it", text.lines().count());
        let stems = file.split(['/', '.']);
        assert!(!stems.clone().any(|s| NO_NAMES.contains(&s)), "{file}: the name says nothing");
    }
}

#[test]
fn every_kernel_has_its_files() {
    let stems = |folder, extension| -> BTreeSet<String> {
        let own = |(file, _): &(String, String)| Path::new(file).parent() == Some(Path::new(folder));
        let stem = |(file, _): (String, String)| Path::new(&file).file_stem().unwrap().to_string_lossy().into_owned();
        files(folder, extension).into_iter().filter(own).map(stem).collect()
    };
    let kernels: BTreeSet<String> = bitsmith::kernel::ALL.iter().map(|k| k.name.to_owned()).collect();
    assert_eq!(stems("shaders", "wgsl"), kernels, "shaders/*.wgsl against kernel::ALL");
    let special = bitsmith::kernel::ALL.iter().filter(|k| k.ptx_hopper.is_some()).map(|k| format!("{}_hopper", k.name));
    let on_cuda: BTreeSet<String> = kernels.iter().cloned().chain(special).collect();
    assert_eq!(stems("cuda", "cu"), on_cuda, "cuda/*.cu against kernel::ALL");
    assert_eq!(stems("cuda/ptx", "ptx"), on_cuda, "cuda/ptx/*.ptx against kernel::ALL");
    let twins = stems("src/kernel", "rs");
    assert!(kernels.is_subset(&twins), "no twin: {:?}", kernels.difference(&twins));
    let parts: BTreeSet<String> = stems("shaders/part", "wgsl");
    let named = fs::read_to_string(root().join("src/kernel/part.rs")).unwrap();
    for part in parts {
        assert!(named.contains(&format!("\"{part}\"")), "shaders/part/{part}.wgsl is used by nothing");
    }
}

#[test]
fn devices_know_no_kernel() {
    for (file, text) in files("src/device", "rs") {
        for kernel in bitsmith::kernel::ALL {
            assert!(!text.contains(&format!("\"{}\"", kernel.name)), "{file} names the kernel {}", kernel.name);
        }
    }
}

#[test]
fn unsafe_code_stays_where_it_is_allowed() {
    for (file, text) in files("src", "rs") {
        let code = text.lines().filter(|l| !l.trim_start().starts_with("//"));
        let has = code.into_iter().any(|l| l.contains("unsafe ") || l.contains("allow(unsafe_code"));
        assert!(!has || UNSAFE.contains(&file.as_str()), "{file} holds unsafe code");
    }
}
