//! The kernels under the address sanitizer and, those whose threads meet, under the thread sanitizer: small cases of the
//! conformance suite, written to a file that `replay.cpp` runs.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bitsmith::check::{self, Case};
use bitsmith::dispatch::CudaLaunch;
use libtest_mimic::Failed;

use super::emulated;

/// Bytes beyond an end, undefined arithmetic such as shifts by 32, and wrong alignment.
const ADDRESSES: [&str; 3] = ["-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"];
/// Races: each thread of a block is one of the system.
const THREADS: [&str; 3] = ["-g1", "-fsanitize=thread", "-DEMULATION_THREADS"];

/// Every kernel, two cases of each variant.
pub fn addresses() -> Result<(), Failed> {
    let program = emulated::sanitized("addresses", &ADDRESSES, |_| true)?;
    let usual = ends(1 << 14, |case| case.variant.to_string());
    replay(&program, usual.iter().map(|case| (case, Launch::of(case))).chain(special(&special_cases())))
}

/// The kernels whose threads meet. How numbers are stored does not matter to when they meet.
pub fn threads() -> Result<(), Failed> {
    let program = emulated::sanitized("threads", &THREADS, meets)?;
    let constants = |case: &Case| format!("{:?}", case.variant.constants().collect::<Vec<_>>());
    let mut cases = ends(1 << 10, constants);
    cases.retain(|case| meets(&source(case.kernel.name)));
    let special_cases = special_cases();
    let special = special(&special_cases).take(1);
    replay(&program, cases.iter().map(|case| (case, Launch::of(case))).chain(special))
}

/// Of the cases that cards of compute capability 9.x run by entries of their own the smallest of each width.
fn special_cases() -> Vec<Case> {
    let mut cases: Vec<Case> = check::all().into_iter().filter(Case::takes_hopper).collect();
    cases.sort_by_cached_key(|case| (case.kernel.name, case.variant.get("BITS"), case.bytes));
    cases.dedup_by_key(|case| (case.kernel.name, case.variant.get("BITS")));
    cases
}

/// Their launches by those entries.
fn special(cases: &[Case]) -> impl Iterator<Item = (&Case, Launch)> {
    cases.iter().filter_map(|case| {
        let own = (case.kernel.cuda_hopper)(case.data().0, &case.variant)?;
        Some((case, Launch::from(own)))
    })
}

/// Of the cases that differ in what `kind` says, the smallest one, and of those of at most so many threads the one that
/// moves most: it goes round every loop more than once.
fn ends(most_threads: usize, kind: impl Fn(&Case) -> String) -> Vec<Case> {
    let mut kinds = HashMap::<_, Vec<Case>>::new();
    for case in check::all().into_iter().filter(|case| case.kernel.ptx.is_some()) {
        kinds.entry((case.kernel.name, kind(&case))).or_default().push(case);
    }
    let both = |mut cases: Vec<Case>| {
        cases.sort_by_cached_key(|case| (Launch::of(case).threads() > most_threads, case.bytes));
        let fitting = cases.iter().filter(|case| Launch::of(case).threads() <= most_threads).count();
        cases.truncate(fitting.max(1));
        let last = cases.pop();
        cases.truncate(1);
        cases.extend(last);
        cases
    };
    kinds.into_values().flat_map(both).collect()
}

/// What the device makes of a case.
struct Launch {
    entry: &'static str,
    grid: [u32; 3],
    /// Threads of a block; 0 where the kernel says.
    block: u32,
    shared: u32,
}

impl Launch {
    fn of(case: &Case) -> Self {
        let (params, _) = case.data();
        if let Some(own) = (case.kernel.cuda)(params, &case.variant) {
            return own.into();
        }
        let block = case.variant.constants().find(|(name, _)| *name == "WG").map_or(0, |(_, threads)| threads);
        Self { entry: case.kernel.name, grid: (case.kernel.grid)(params, &case.variant), block, shared: 0 }
    }

    fn threads(&self) -> usize {
        self.grid.iter().map(|n| *n as usize).product::<usize>() * self.block.max(32) as usize
    }
}

impl From<CudaLaunch> for Launch {
    fn from(own: CudaLaunch) -> Self {
        Self { entry: own.entry, grid: own.grid, block: own.block, shared: own.shared }
    }
}

/// The launch of a case as `replay.cpp` reads it.
fn words(case: &Case, launch: &Launch) -> Vec<u32> {
    let length = |n: usize| u32::try_from(n).expect("a case is small");
    let text = |bytes: &[u8]| -> Vec<u32> {
        let word = |four: &[u8]| four.iter().rev().fold(0, |word, byte| (word << 8) | u32::from(*byte));
        [vec![length(bytes.len())], bytes.chunks(4).map(word).collect()].concat()
    };
    let (params, bindings) = case.data();
    let mut words = text(launch.entry.as_bytes());
    words.extend(launch.grid);
    words.extend([launch.block, launch.shared]);
    words.extend(text(params));
    words.extend(case.variant.cuda());
    words.push(length(bindings.len()));
    for binding in bindings {
        words.push(length(binding.len()));
        words.extend(binding);
    }
    words
}

fn replay<'a>(program: &Path, launches: impl Iterator<Item = (&'a Case, Launch)>) -> Result<(), Failed> {
    let all: Vec<u32> = launches.flat_map(|(case, launch)| words(case, &launch)).collect();
    let file = program.with_extension("launches");
    fs::write(&file, bytemuck::cast_slice::<u32, u8>(&all))?;
    // What is left at the end is of no interest, and not every container lets the sanitizer look for it.
    let run = |command: &mut Command| command.arg(&file).env("ASAN_OPTIONS", "detect_leaks=0").output();
    let mut output = run(&mut Command::new(program))?;
    // Older sanitizers want addresses that are not drawn at random.
    if String::from_utf8_lossy(&output.stderr).contains("unexpected memory mapping") {
        output = run(Command::new("setarch").arg("-R").arg(program))?;
    }
    fs::remove_file(&file)?;
    match output.status.success() && output.stderr.is_empty() {
        true => Ok(()),
        false => Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn source(kernel: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda").join(kernel).with_extension("cu")
}

/// Whether a source, or a part that it takes, lets threads wait for each other.
fn meets(path: &Path) -> bool {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda");
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut parts = text.lines().filter_map(|line| line.strip_prefix("#include \"")?.strip_suffix('"'));
    text.contains("__syncthreads()") || text.contains("_sync(") || parts.any(|part| meets(&folder.join(part)))
}
