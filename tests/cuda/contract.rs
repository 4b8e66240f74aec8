//! The CUDA side of every kernel against its contract, without a device: source and PTX are there, the numbers of parts
//! and the order of constants are those that the source counts on, and the entries take what a launch gives them.

use std::path::Path;

use bitsmith::device::cuda::{Entry, entries};
use bitsmith::dispatch::{CUDA_VARIANT_WORDS, KernelSpec, Part, Variant};
use bitsmith::kernel::{self, part};
use libtest_mimic::{Failed, Trial};

pub fn trials() -> Vec<Trial> {
    let kernels = kernel::ALL
        .iter()
        .map(|spec| Trial::test(format!("{}/cuda", spec.name), move || check(spec).map_err(Failed::from)));
    kernels.chain([Trial::test("numbers of parts/cuda", || numbers().map_err(Failed::from))]).collect()
}

/// A file of the folder `cuda`.
fn read(name: &str) -> Result<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda").join(name);
    std::fs::read_to_string(&path).map_err(|e| format!("cuda/{name}: {e}"))
}

fn check(spec: &KernelSpec) -> Result<(), String> {
    let (source, variants) = (read(&format!("{}.cu", spec.name))?, (spec.variants)());
    constants(&source, &variants)?;
    let ptx = spec.ptx.ok_or("it has no PTX")?;
    if read(&format!("ptx/{}.ptx", spec.name))? != ptx {
        return Err("its PTX is that of another kernel".into());
    }
    let entries = entries(ptx);
    let usual = entries.iter().find(|e| e.name == spec.name).ok_or("its PTX has no entry of its name")?;
    let pointers = spec.access.len();
    let expected = [vec![8; pointers], vec![spec.params, 4 * CUDA_VARIANT_WORDS]].concat();
    let special = special(spec)?;
    if let Some(entry) = entries.iter().chain(&special).find(|e| e.params != expected) {
        return Err(format!("entry {} takes {:?} bytes, not {expected:?}", entry.name, entry.params));
    }
    variants.iter().try_for_each(|variant| block(usual, variant))
}

/// The entries for compute capability 9.x alone, in PTX that says so.
fn special(spec: &KernelSpec) -> Result<Vec<Entry>, String> {
    let Some(ptx) = spec.ptx_hopper else { return Ok(Vec::new()) };
    let name = format!("{}_hopper", spec.name);
    if read(&format!("ptx/{name}.ptx"))? != ptx || !ptx.contains("\n.target sm_90a\n") {
        return Err(format!("its PTX for compute capability 9.x is not ptx/{name}.ptx, or for another"));
    }
    let entries = entries(ptx);
    match entries.iter().find(|entry| !entry.name.starts_with(&name)) {
        Some(entry) => Err(format!("{name}.ptx has the entry {}", entry.name)),
        None => Ok(entries),
    }
}

/// The line `// constants: A B` names the constants as every variant sets them; a variant may set the first few only.
fn constants(source: &str, variants: &[Variant]) -> Result<(), String> {
    let line = source.lines().find_map(|line| line.strip_prefix("// constants:")).unwrap_or_default();
    let named: Vec<&str> = line.split_whitespace().collect();
    let mut most = 0;
    for variant in variants {
        let set: Vec<&str> = variant.constants().map(|(name, _)| name).collect();
        if !named.starts_with(&set) {
            return Err(format!("the source names the constants {named:?}, variant {variant} sets {set:?}"));
        }
        most = most.max(set.len());
    }
    if most == named.len() { Ok(()) } else { Err(format!("no variant sets all of {named:?}")) }
}

/// Something says how large a block is, and it is not more than the entry was made for.
fn block(entry: &Entry, variant: &Variant) -> Result<(), String> {
    let wanted = variant.constants().find(|(name, _)| *name == "WG").map(|(_, threads)| threads);
    match (wanted, entry.threads) {
        (None, None) => Err(format!("nothing says how large a block of {variant} is")),
        (Some(wanted), Some(most)) if wanted > most => Err(format!("{variant} wants {wanted} threads, not {most}")),
        _ => Ok(()),
    }
}

/// The names that sources give to the numbers of parts.
fn numbers() -> Result<(), String> {
    let named: [(&str, &[&Part]); 14] = [
        ("F32", &[&part::W_F32, &part::X_F32, &part::SCALE_F32]),
        ("F16", &[&part::W_F16, &part::X_F16, &part::X_F16_NATIVE, &part::SCALE_F16]),
        ("BF16", &[&part::W_BF16, &part::SCALE_BF16]),
        ("DENSE", &[&part::CODES_DENSE]),
        ("DENSE3", &[&part::CODES_DENSE3]),
        ("QUADS", &[&part::QUADS]),
        ("MIDDLE", &[&part::ZERO_MIDDLE]),
        ("BYTE", &[&part::ZERO_BYTE]),
        ("SILU", &[&part::ACT_SILU, &part::SLOPE_SILU]),
        ("GELU", &[&part::ACT_GELU, &part::SLOPE_GELU]),
        ("GELU_TANH", &[&part::ACT_GELU_TANH, &part::SLOPE_GELU_TANH]),
        ("RELU", &[&part::ACT_RELU, &part::SLOPE_RELU]),
        ("RELU2", &[&part::ACT_RELU2, &part::SLOPE_RELU2]),
        ("SIGMOID", &[&part::ACT_SIGMOID, &part::SLOPE_SIGMOID]),
    ];
    let prelude = read("part/prelude.cuh")?;
    let lines = prelude.lines().filter_map(|line| line.strip_prefix("constexpr u32 "));
    let pairs: Vec<(&str, &str)> = lines
        .flat_map(|line| line.trim_end_matches(';').split(", "))
        .filter_map(|pair| pair.split_once(" = "))
        .collect();
    for (name, parts) in named {
        let number = pairs.iter().find(|(n, _)| *n == name).and_then(|(_, number)| number.parse::<u32>().ok());
        if let Some(part) = parts.iter().find(|part| Some(part.id) != number) {
            return Err(format!("{name} is {number:?} in prelude.cuh, part {} is {}", part.name, part.id));
        }
    }
    Ok(())
}
