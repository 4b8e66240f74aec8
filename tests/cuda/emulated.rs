//! Builds a driver that emulates CUDA on the host, from `tests/cuda` and all of `cuda/*.cu`, with the system's C++
//! compiler (`$CXX`, else `c++`) and more options (`$CXXFLAGS`). Objects are kept in the target folder and made again when
//! anything they are made from has changed.

use std::collections::hash_map::DefaultHasher;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Fused products would round other than the twins; the address space is the host's, so errors of layout must be errors.
const FLAGS: [&str; 7] = ["-std=c++20", "-O1", "-DHOST", "-fPIC", "-ffp-contract=off", "-Icuda", "-Itests/cuda"];

/// What the driver is made of besides kernels.
const DRIVER: [&str; 3] = ["tests/cuda/driver.cpp", "tests/cuda/driver_graphs.cpp", "tests/cuda/emulation.cpp"];

/// The emulated driver with every kernel.
///
/// # Errors
/// Why it cannot be built here: no compiler, or what the compiler says.
pub fn driver() -> Result<PathBuf, String> {
    let sources = DRIVER.iter().map(|s| root().join(s)).chain(files(&root().join("cuda"), "cu"));
    build("driver", &sources.collect::<Vec<_>>(), &[])
}

/// The emulated driver with the kernel `doubled` alone.
///
/// # Errors
/// As [`driver`].
#[allow(dead_code, reason = "each test takes what it needs")]
pub fn bare() -> Result<PathBuf, String> {
    build("bare", &bare_sources(), &[])
}

/// As [`bare`], but one function is missing.
///
/// # Errors
/// As [`driver`].
#[allow(dead_code, reason = "each test takes what it needs")]
pub fn bare_without(function: &str) -> Result<PathBuf, String> {
    build(&format!("without-{function}"), &bare_sources(), &[&format!("-D{function}=renamed")])
}

/// A cuBLASLt that computes on the host, beside the emulated driver.
///
/// # Errors
/// As [`driver`].
#[allow(dead_code, reason = "each test takes what it needs")]
pub fn cublaslt() -> Result<PathBuf, String> {
    build("cublaslt", &[root().join("tests/cuda/cublaslt.cpp")], &[])
}

/// As [`cublaslt`], but one function is missing.
///
/// # Errors
/// As [`driver`].
#[allow(dead_code, reason = "each test takes what it needs")]
pub fn cublaslt_without(function: &str) -> Result<PathBuf, String> {
    let sources = [root().join("tests/cuda/cublaslt.cpp")];
    build(&format!("without-{function}"), &sources, &[&format!("-D{function}=renamed")])
}

/// A program that runs launches from a file (`replay.cpp`), with every kernel that `wanted` takes by its source, under a
/// sanitizer.
///
/// # Errors
/// As [`driver`].
#[allow(dead_code, reason = "each test takes what it needs")]
pub fn sanitized(name: &str, options: &[&str], wanted: impl Fn(&Path) -> bool) -> Result<PathBuf, String> {
    let own = ["tests/cuda/replay.cpp", "tests/cuda/emulation.cpp"].map(|source| root().join(source));
    let kernels = files(&root().join("cuda"), "cu").into_iter().filter(|path| wanted(path));
    build(name, &own.into_iter().chain(kernels).collect::<Vec<_>>(), options)
}

fn bare_sources() -> Vec<PathBuf> {
    DRIVER.iter().chain(&["tests/cuda/doubled.cu"]).map(|source| root().join(source)).collect()
}

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn compiler() -> OsString {
    std::env::var_os("CXX").unwrap_or_else(|| "c++".into())
}

fn build(name: &str, sources: &[PathBuf], options: &[&str]) -> Result<PathBuf, String> {
    if !cfg!(target_os = "linux") {
        return Err("the emulation runs on Linux".to_owned());
    }
    let version = run(Command::new(compiler()).arg("--version")).map_err(|why| format!("no C++ compiler: {why}"))?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-emulation").join(name);
    fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    // Several test programs may want it at once.
    let lock = File::create(folder.join("lock")).map_err(|e| e.to_string())?;
    lock.lock().map_err(|e| e.to_string())?;
    let headers = [("tests/cuda", "hpp"), ("cuda/part", "cuh")].map(|(f, e)| files(&root().join(f), e)).concat();
    let more = std::env::var("CXXFLAGS").unwrap_or_default();
    let options = &options.iter().copied().chain(more.split_whitespace()).collect::<Vec<_>>()[..];
    let shared = digest((&version, options, FLAGS), &headers)?;
    let objects = sources.iter().map(|source| {
        let stem = source.file_stem().unwrap_or_default().to_string_lossy();
        let digest = digest(shared, std::slice::from_ref(source))?;
        Ok((source.clone(), folder.join(format!("{stem}-{digest:016x}.o"))))
    });
    let objects = objects.collect::<Result<Vec<_>, String>>()?;
    compile(&objects, options)?;
    let objects: Vec<PathBuf> = objects.into_iter().map(|(_, object)| object).collect();
    let library = folder.join(format!("libcuda-{:016x}.so", digest((), &objects)?));
    if !library.exists() {
        let partial = library.with_extension("partial");
        let program = options.iter().any(|option| option.starts_with("-fsanitize"));
        let kind = if program { "-pthread" } else { "-shared" };
        run(Command::new(compiler()).args(options).arg(kind).arg("-o").arg(&partial).args(&objects))?;
        fs::rename(&partial, &library).map_err(|e| e.to_string())?;
    }
    // What older sources were made into.
    for file in fs::read_dir(&folder).map_err(|e| e.to_string())?.flatten().map(|entry| entry.path()) {
        if file != library && !objects.contains(&file) && file.file_name() != Some(OsStr::new("lock")) {
            fs::remove_file(file).map_err(|e| e.to_string())?;
        }
    }
    Ok(library)
}

/// Makes the objects that are not there, as many at once as there are processors.
fn compile(objects: &[(PathBuf, PathBuf)], options: &[&str]) -> Result<(), String> {
    let missing: Vec<_> = objects.iter().filter(|(_, object)| !object.exists()).collect();
    let next = AtomicUsize::new(0);
    let worker = || {
        while let Some((source, object)) = missing.get(next.fetch_add(1, Relaxed)) {
            let partial = object.with_extension("partial");
            let mut command = Command::new(compiler());
            command.current_dir(root()).args(FLAGS).args(options).arg("-c").args(["-x", "c++"]).arg(source);
            run(command.arg("-o").arg(&partial))?;
            fs::rename(&partial, object).map_err(|e| e.to_string())?;
        }
        Ok(())
    };
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(missing.len());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked".to_owned())?)
    })
}

/// Runs a program to its end and gives its output, or what it complains of.
fn run(command: &mut Command) -> Result<Vec<u8>, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{program}: {e}"))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(format!("{program} failed: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

fn digest(seed: impl Hash, files: &[PathBuf]) -> Result<u64, String> {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    for file in files {
        file.hash(&mut hasher);
        fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// The files of a folder with this ending, in order.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<_> = found.filter(|p| p.extension() == Some(OsStr::new(ending))).collect();
    found.sort();
    found
}
