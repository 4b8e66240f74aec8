//! What is done again and again: graphs of launches, and products of cuBLASLt.

use std::path::Path;
use std::process::Command;

use bitsmith::device::cuda::{CUBLASLT_VARIABLE, DRIVER_VARIABLE};
use libtest_mimic::Trial;

use super::{Outcome, SCENE, contains, emulated, output, said, told};

const STEPS: &str = "6 launches 0 graphs 0 changes";
const MADE: &str = "0 launches 1 graphs 0 changes";
const CHANGED: &str = "0 launches 1 graphs 6 changes";

/// The same work five times: what a driver does with graphs, how the times go, and what is left when the device is gone.
/// Whatever the driver answers, results are right.
const REPEATED: [(&str, &str, [&str; 5], usize); 7] = [
    ("one call from the second time on", "", [STEPS, MADE, CHANGED, CHANGED, CHANGED], 0),
    ("no graph can be made", "cuGraphCreate=2", [STEPS; 5], 0),
    ("a node is refused", "cuGraphAddKernelNode_v2=1@3", [STEPS; 5], 0),
    ("a graph is not instantiated", "cuGraphInstantiateWithFlags=801", [STEPS; 5], 0),
    (
        "a node cannot be changed",
        "cuGraphExecKernelNodeSetParams_v2=1",
        [STEPS, MADE, "6 launches 0 graphs 1 changes", STEPS, STEPS],
        0,
    ),
    (
        "a graph cannot be launched",
        "cuGraphLaunch=801@2",
        [STEPS, MADE, "6 launches 1 graphs 6 changes", STEPS, STEPS],
        0,
    ),
    (
        "the device is lost in a graph",
        "cuGraphLaunch=719@2",
        [STEPS, MADE, "device lost: cuGraphLaunch", "device lost", "device lost"],
        2,
    ),
];

pub fn graphs(driver: &Path) -> Vec<Trial> {
    let repeated = REPEATED.iter().map(|(name, plan, times, left)| {
        let driver = driver.to_owned();
        Trial::test(format!("graphs: {name}"), move || {
            let told = told(&driver, plan, "repeat")?;
            let (all, rest) = told.split_once("; left: ").ok_or_else(|| format!("no end in {told}"))?;
            let all: Vec<&str> = all.split(", ").collect();
            let right = all.len() == times.len() && all.iter().zip(times).all(|(time, words)| time.contains(words));
            if right && rest.trim() == left.to_string() { Ok(()) } else { Err(told.into()) }
        })
    });
    let kinds = driver.to_owned();
    repeated
        .chain([
            // A graph is two of the driver's.
            Trial::test("graphs: eight are kept, others made again and all destroyed", move || {
                said(&kinds, "", "kinds", &["4 launches 0 graphs 0 changes, 0 launches 1 graphs", "most: 16; left: 0"])
            }),
            Trial::test("graphs: a driver without them", || {
                let driver = emulated::bare_without("cuGraphLaunch")?;
                contains(&told(&driver, "", "repeat")?, &[&[STEPS; 5].join(", "), "left: 0"])
            }),
        ])
        .collect()
}

const LIBRARY: &str = "0 launches 0 graphs 0 changes";
const KERNELS: &str = "4 launches 0 graphs 0 changes";
const GRAPH: &str = "0 launches 1 graphs 0 changes";

/// Three times four large products: what cuBLASLt does, how the times go, and how many it computed and was asked of. Results
/// are right in all cases.
const PRODUCTS: [(&str, [&str; 3], &str); 12] = [
    ("", [LIBRARY; 3], "computed 12, asked 1"),
    ("workspace=4096", [LIBRARY; 3], "computed 12, asked 1"),
    ("workspace=4194304 memory=2000000", [KERNELS; 3], "computed 0, asked 1"),
    ("workspace=67108864", [KERNELS; 3], "computed 0, asked 1"),
    // Once the library is found not to work, the work is known to be the device's own.
    ("cublasLtCreate=1", [KERNELS, KERNELS, GRAPH], "computed 0, asked 0"),
    ("cublasLtMatmulDescCreate=3", [KERNELS; 3], "computed 0, asked 0"),
    ("cublasLtMatmulDescSetAttribute=7", [KERNELS; 3], "computed 0, asked 0"),
    ("cublasLtMatrixLayoutCreate=3@2", [KERNELS; 3], "computed 0, asked 0"),
    ("cublasLtMatmulPreferenceCreate=3", [KERNELS; 3], "computed 0, asked 0"),
    ("cublasLtMatmulAlgoGetHeuristic=15", [KERNELS; 3], "computed 0, asked 1"),
    ("cublasLtMatmul=13", [KERNELS; 3], "computed 0, asked 1"),
    ("cublasLtMatmul=13@3", ["2 launches 0 graphs 0 changes", KERNELS, KERNELS], "computed 2, asked 1"),
];

pub fn products(driver: &Path, library: &Path) -> Vec<Trial> {
    let (driver, library) = (driver.to_owned(), library.to_owned());
    let trials = PRODUCTS.map(|(plan, times, counts)| {
        let (driver, library) = (driver.clone(), library.clone());
        let trial = move || computed(&driver, &library, plan, times, counts);
        Trial::test(format!("cuBLASLt with {}", if plan.is_empty() { "nothing amiss" } else { plan }), trial)
    });
    let (other, times) = (driver.clone(), [KERNELS, KERNELS, GRAPH]);
    let rest = [
        Trial::test("cuBLASLt without a function", move || {
            let library = emulated::cublaslt_without("cublasLtMatmulPreferenceCreate")?;
            computed(&driver, &library, "", times, "computed 0, asked 0")
        }),
        Trial::test("cuBLASLt that is no library", move || {
            computed(&other, Path::new(file!()), "", times, "computed 0, asked 0")
        }),
    ];
    trials.into_iter().chain(rest).collect()
}

/// Plays the scene of products with a driver and a library.
fn computed(driver: &Path, library: &Path, plan: &str, times: [&str; 3], counts: &str) -> Outcome {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(DRIVER_VARIABLE, driver).env(CUBLASLT_VARIABLE, library);
    let told = output(command.env("EMULATION", plan).env(SCENE, "products"))?;
    contains(&told, &[&times.join(", "), &format!("; {counts}, left 0")])
}
