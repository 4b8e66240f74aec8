//! Entries of the CUDA products for tensor cores, emulated on the host: right at sizes around a tile, and tests that would
//! notice if they were not: each fault that is planted in a copy of their source must be. `BITSMITH_REQUIRE=emulated` makes it
//! a failure that the emulation cannot be built.

#[path = "cuda/emulated.rs"]
mod emulated;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use libtest_mimic::{Arguments, Failed, Trial};

const FLAGS: [&str; 6] = ["-std=c++20", "-O1", "-DHOST", "-fPIC", "-ffp-contract=off", "-Itests/cuda"];

/// A part, what stands in it once, and what a fault makes of that.
const FAULTS: [(&str, &str, &str, &str); 22] = [
    ("a late wait", "many.cuh", "copy_wait<STAGES - 2>()", "copy_wait<STAGES - 1>()"),
    (
        "a missing barrier",
        "many.cuh",
        "        __syncthreads();\n        copy_w(step + STAGES - 1);",
        "        copy_w(step + STAGES - 1);",
    ),
    (
        "a wrong zero point",
        "many.cuh",
        "zero[i] = next_zero[i] * 0x10001u;",
        "zero[i] = (next_zero[i] ^ 1) * 0x10001u;",
    ),
    (
        "a wrong address of an operand",
        "many.cuh",
        "x_unit(warp_b + 8 * j + g, 4 * c + t)",
        "x_unit(warp_b + 8 * j + g, 4 * c + (t ^ 1))",
    ),
    ("a missing bound", "many.cuh", "if (row < p.rows && b < p.batch)", "if (b < p.batch)"),
    (
        "a scale that is doubled",
        "many.cuh",
        "scale_of(next_scale[i], v.scale)",
        "2.0f * scale_of(next_scale[i], v.scale)",
    ),
    (
        "a zero point of another row",
        "stream.cuh",
        "out.zero[s] = zero_code(zeros, at, v.zero, bits);",
        "out.zero[s] = zero_code(zeros, at + 1, v.zero, bits);",
    ),
    ("a block's sum that is left out", "many_int8.cuh", "block_end += p.block;", "block_end += 2 * p.block;"),
    ("a bias of another column", "product.cuh", "bias[p.out_offset + row]", "bias[row]"),
    (
        "a product that is not waited for",
        "hopper.cuh",
        "multiply_wait<0>();\n        __syncwarp();",
        "multiply_wait<1>();\n        __syncwarp();",
    ),
    ("another order of units", "warpgroup.cuh", "(unit ^ row % 8) * 16", "(unit ^ row % 4) * 16"),
    ("a wrong descriptor", "warpgroup.cuh", "u64(ATOM / 16) << 32", "u64(ATOM / 32) << 32"),
    (
        "a wrong phase",
        "hopper.cuh",
        "&barriers.full[ring.stage], ring.phase",
        "&barriers.full[ring.stage], ring.phase ^ 1",
    ),
    (
        "a stage that is filled too early",
        "hopper.cuh",
        "barrier_wait(&barriers.empty[reads.stage], reads.phase ^ 1);",
        "",
    ),
    (
        "a stage that is given back too early",
        "hopper.cuh",
        "barrier_arrive(&barriers.empty[last_stage])",
        "barrier_arrive(&barriers.empty[ring.stage])",
    ),
    ("a copy that is waited for too late", "hopper.cuh", "copy_wait<AHEAD - 1>()", "copy_wait<AHEAD>()"),
    ("a copy that products do not see", "hopper.cuh", "fence_shared();", ""),
    ("a product without a fence", "hopper.cuh", "multiply_fence();", ""),
    ("a scale of another row", "hopper.cuh", "scale[i / 2 % 2]", "scale[i % 2]"),
    ("a sum that is kept", "hopper.cuh", "i > 0 || !settles", "1"),
    ("a missing bound of columns", "hopper.cuh", "APART * i < rows_of_x && k < p.cols", "APART * i < rows_of_x"),
    ("a missing bound of rows", "hopper.cuh", "row < p.rows && b < p.batch", "b < p.batch"),
];

/// What a copy of the parts is put into, and the parts that the second has alone.
const TILES: [&str; 2] = ["tests/cuda/tiles.cu", "tests/cuda/tiles_hopper.cu"];
const HOPPER: [&str; 2] = ["hopper.cuh", "warpgroup.cuh"];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    match emulated::driver() {
        Ok(driver) => {
            trials.push(Trial::test("entries are right", move || right(&driver)));
            trials.push(Trial::test("the copy without a fault is right", || faulty(None)));
            trials.extend(
                FAULTS.iter().map(|fault| Trial::test(format!("{} is noticed", fault.0), || faulty(Some(fault)))),
            );
        }
        Err(why) => {
            let required = std::env::var("BITSMITH_REQUIRE").is_ok_and(|r| r.split(',').any(|d| d == "emulated"));
            let name = format!("no emulation: {why}");
            trials.push(Trial::test(name, || Err(why.into())).with_ignored_flag(!required));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// All sizes on the entries as they ship.
fn right(driver: &Path) -> Result<(), Failed> {
    let folder = folder("shipped")?;
    let program = folder.join("products");
    let compiled = Command::new(compiler())
        .args(FLAGS)
        .args(["tests/cuda/products.cpp", "-o"])
        .arg(&program)
        .arg(driver)
        .arg(format!("-Wl,-rpath,{}", driver.parent().unwrap_or(Path::new(".")).display()))
        .output()?;
    success(&compiled)?;
    success(&Command::new(&program).output()?)
}

/// A few sizes on a copy of the parts, with a fault or without.
fn faulty(fault: Option<&(&str, &str, &str, &str)>) -> Result<(), Failed> {
    let folder = folder(&fault.map_or("copy".to_owned(), |fault| fault.0.replace(' ', "-")))?;
    fs::create_dir_all(folder.join("part"))?;
    for file in fs::read_dir("cuda/part")? {
        let file = file?;
        let mut text = fs::read_to_string(file.path())?;
        if let Some((_, part, right, wrong)) = fault
            && file.file_name() == *part
        {
            assert_eq!(text.matches(right).count(), 1, "{part} has another text: {right}");
            text = text.replace(right, wrong);
        }
        fs::write(folder.join("part").join(file.file_name()), text)?;
    }
    let program = folder.join("products");
    let tiles = match fault {
        None => &TILES[..],
        Some((_, part, ..)) if HOPPER.contains(part) => &TILES[1..],
        Some(_) => &TILES[..1],
    };
    let compiled = Command::new(compiler())
        .args(FLAGS)
        .arg(format!("-I{}", folder.display()))
        .args(objects()?)
        .args(["-x", "c++"])
        .args(tiles)
        .arg("-o")
        .arg(&program)
        .output()?;
    success(&compiled)?;
    let found = Command::new(&program).arg("few").output()?;
    match fault {
        None => success(&found),
        // 1 is what the program says of a wrong result; anything else would be a fault of the test.
        Some(_) if found.status.code() == Some(1) => Ok(()),
        Some(_) => Err(format!("{}: {}", found.status, String::from_utf8_lossy(&found.stdout)).into()),
    }
}

/// What all programs share, made once.
fn objects() -> Result<&'static [PathBuf], Failed> {
    static OBJECTS: OnceLock<Result<Vec<PathBuf>, String>> = OnceLock::new();
    let make = |name: &str| -> Result<PathBuf, Failed> {
        let object = folder("shared")?.join(name).with_extension("o");
        let source = format!("tests/cuda/{name}.cpp");
        success(&Command::new(compiler()).args(FLAGS).args(["-c", &source, "-o"]).arg(&object).output()?)?;
        Ok(object)
    };
    let both = || ["products", "emulation"].into_iter().map(make).collect::<Result<_, _>>();
    let objects = OBJECTS.get_or_init(|| both().map_err(|why: Failed| why.message().unwrap_or_default().to_owned()));
    objects.as_deref().map_err(|why| why.as_str().into())
}

fn success(output: &Output) -> Result<(), Failed> {
    match output.status.success() {
        true => Ok(()),
        false => {
            Err(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
                .into())
        }
    }
}

fn folder(name: &str) -> Result<PathBuf, Failed> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-products").join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn compiler() -> OsString {
    std::env::var_os("CXX").unwrap_or_else(|| "c++".into())
}
