//! CUDA without a card: what becomes of a driver that is absent, too old, broken, short of memory or failing, and how the
//! device behaves on one that is emulated on the host. Each scene runs in a process of its own, as a driver may end it.
//! `BITSMITH_REQUIRE=emulated` makes it a failure that the emulation cannot be built.

mod emulated;
mod sanitized;
mod scene;

use std::path::Path;
use std::process::Command;

use bitsmith::device::cuda::{CUBLASLT_VARIABLE, DRIVER_VARIABLE};
use libtest_mimic::{Arguments, Failed, Trial};

type Outcome = Result<(), Failed>;

/// Which scene a process is to play.
const SCENE: &str = "BITSMITH_CUDA_SCENE";

fn main() {
    if let Ok(scene) = std::env::var(SCENE) {
        println!("{}", scene::play(&scene));
        return;
    }
    let arguments = Arguments::from_args();
    let mut trials = vec![
        Trial::test("a driver that is not there", || {
            fails(Path::new("/nowhere/libcuda.so"), "", &["no driver is installed"])
        }),
        Trial::test("a file that is no library", || fails(Path::new(file!()), "", &["no driver is installed"])),
    ];
    match emulated::bare() {
        Ok(driver) => {
            trials.extend(broken(&driver));
            trials.extend(graphs(&driver));
        }
        Err(why) => trials.push(absent("broken drivers", why)),
    }
    match emulated::driver() {
        Ok(driver) => {
            trials.extend(whole(&driver));
            match emulated::cublaslt() {
                Ok(library) => trials.extend(products(&driver, &library)),
                Err(why) => trials.push(absent("the emulated cuBLASLt", why)),
            }
            trials.push(Trial::test("kernels under the address sanitizer", sanitized::addresses));
            trials.push(Trial::test("kernels under the thread sanitizer", sanitized::threads));
        }
        Err(why) => trials.push(absent("the emulated driver", why)),
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Stands for the trials of an emulation that cannot be built here.
fn absent(name: &str, why: String) -> Trial {
    let required = std::env::var("BITSMITH_REQUIRE").is_ok_and(|r| r.split(',').any(|d| d == "emulated"));
    Trial::test(format!("{name}: {why}"), || Err(why.into())).with_ignored_flag(!required)
}

/// Drivers that cannot be used at all: what they do, and what is said of them.
const UNUSABLE: [(&str, &[&str]); 11] = [
    ("cuInit=100", &["cuInit", "CUDA_ERROR_NO_DEVICE (100)"]),
    ("cuInit=34", &["cuInit", "CUDA_ERROR_STUB_LIBRARY (34)"]),
    ("cuInit=777", &["cuInit", "an error without a name (777)"]),
    ("cuInit=999", &["cuInit", "CUDA_ERROR_UNKNOWN (999)"]),
    ("cuInit=-1", &["cuInit", "(-1)"]),
    ("cuDriverGetVersion=1", &["cuDriverGetVersion", "CUDA_ERROR_INVALID_VALUE (1)"]),
    ("version=11040", &["for CUDA 11.4", "12.0 or newer"]),
    ("cuDeviceGetCount=100", &["cuDeviceGetCount", "CUDA_ERROR_NO_DEVICE (100)"]),
    ("devices=0", &["finds no device"]),
    ("devices=-5", &["finds no device"]),
    ("cuDeviceGetName=919", &["919"]),
];

/// Drivers whose devices cannot be opened.
const UNOPENED: [(&str, &[&str]); 6] = [
    ("cuDevicePrimaryCtxRetain=2", &["out of memory", "cuDevicePrimaryCtxRetain"]),
    ("cuDevicePrimaryCtxRetain=46", &["cannot be used now", "nvidia-smi"]),
    ("cuDevicePrimaryCtxRetain=777", &["cuDevicePrimaryCtxRetain", "(777)"]),
    ("cuCtxSetCurrent=201", &["cuCtxSetCurrent", "CUDA_ERROR_INVALID_CONTEXT (201)"]),
    ("cuStreamCreate=2", &["out of memory", "cuStreamCreate"]),
    ("capability=75", &["compute capability 7.5", "--device wgpu"]),
];

/// Devices that fail at work. In the scene a first step is right, then it is run twice more.
const FAILING: [(&str, &str, &[&str]); 11] = [
    ("nothing fails", "", &["steps: ok, ok, ok", "memory: ok"]),
    (
        "ptx is refused",
        "cuModuleLoadDataEx=222",
        &["doubled", "refuses a kernel", "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "ptxas: not taken", "memory: ok"],
    ),
    ("an entry is missing", "cuModuleGetFunction=500", &["refuses a kernel", "CUDA_ERROR_NOT_FOUND", "memory: ok"]),
    ("no memory at all", "cuMemAlloc_v2=2", &["out of memory", "lower --window"]),
    (
        "no memory for more",
        "memory=65536",
        &["steps: ok, ok, ok", "memory: device Emulated CUDA device: out of memory", "lower --window", "after: ok"],
    ),
    (
        "a launch needs too much",
        "cuLaunchKernel=701@2",
        &["steps: ok, device Emulated CUDA device: a kernel needs more", "memory: ok"],
    ),
    (
        "a launch fails",
        "cuLaunchKernel=719@2",
        &[
            "steps: ok, device Emulated CUDA device: device lost: cuLaunchKernel: CUDA_ERROR_LAUNCH_FAILED",
            "memory: device Emulated CUDA device: device lost",
            "after: device Emulated CUDA device: device lost",
        ],
    ),
    (
        "a code that nobody knows",
        "cuLaunchKernel=12345@2",
        &[
            "steps: ok, device Emulated CUDA device: cuLaunchKernel failed: an error without a name (12345)",
            "memory: ok",
        ],
    ),
    (
        "a kernel fails later",
        "cuStreamSynchronize=700@4",
        &[
            "steps: ok, device Emulated CUDA device: device lost: cuStreamSynchronize: CUDA_ERROR_ILLEGAL_ADDRESS (700)",
            "start the program again",
            "after: device Emulated CUDA device: device lost",
        ],
    ),
    (
        "an upload fails",
        "cuMemcpyHtoDAsync_v2=1@2",
        &["steps: ok, device Emulated CUDA device: cuMemcpyHtoDAsync failed", "memory: ok"],
    ),
    (
        "a read fails",
        "cuMemcpyDtoHAsync_v2=999@2",
        &[
            "steps: ok, device Emulated CUDA device: device lost: cuMemcpyDtoHAsync",
            "after: device Emulated CUDA device: device lost",
        ],
    ),
];

fn broken(driver: &Path) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (plan, words) in UNUSABLE {
        let driver = driver.to_owned();
        trials.push(Trial::test(format!("a driver with {plan}"), move || fails(&driver, plan, words)));
    }
    for (plan, words) in UNOPENED {
        let driver = driver.to_owned();
        trials.push(Trial::test(format!("a device with {plan}"), move || {
            said(&driver, plan, "open", words)?;
            said(&driver, plan, "auto", &["not cuda"])
        }));
    }
    for (name, plan, words) in FAILING {
        let driver = driver.to_owned();
        trials.push(Trial::test(format!("work: {name}"), move || said(&driver, plan, "work", words)));
    }
    trials.push(Trial::test("a driver without a function", || {
        let driver = emulated::bare_without("cuEventElapsedTime")?;
        fails(&driver, "", &["no function cuEventElapsedTime", "12.0 or newer"])
    }));
    let driver = driver.to_owned();
    let other = driver.clone();
    trials.push(Trial::test("a device that is not there", move || {
        said(&other, "", "open:5", &["cuda:5 is not there; 1 device(s)"])
    }));
    trials.push(Trial::test("a device that fails its self-test is left alone", move || {
        said(&driver, "", "auto", &["not cuda"])
    }));
    trials
}

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

fn graphs(driver: &Path) -> Vec<Trial> {
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

fn products(driver: &Path, library: &Path) -> Vec<Trial> {
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

/// A driver that works, with all kernels.
fn whole(driver: &Path) -> Vec<Trial> {
    let [first, second, third, fourth] = [0; 4].map(|_| driver.to_owned());
    vec![
        Trial::test("a token is one call from the third on", move || {
            let [with, without] = ["", "cuGraphInstantiateWithFlags=801"].map(|plan| {
                told(&fourth, plan, "generate").map(|told| told.lines().next().unwrap_or_default().to_owned())
            });
            let (with, without) = (with?, without?);
            let times = |told: &str| told.split("; ").nth(1).unwrap_or_default().to_owned();
            let tokens = |told: &str| told.split("; ").next().unwrap_or_default().to_owned();
            assert_eq!(tokens(&with), tokens(&without));
            // The prompt is work of its own, and the first token after it the first of its kind.
            let times: Vec<[usize; 3]> = times(&with).split(", ").map(numbers).collect();
            assert!(times.len() == 6 && times[..2].iter().all(|[_, graphs, _]| *graphs == 0), "{with}");
            assert!(times[2..].iter().all(|[launches, graphs, _]| (*launches, *graphs) == (0, 1)), "{with}");
            // Memory is the same from token to token; what differs is the position, in a few kernels of each block.
            let all = times[1][0];
            assert!(times[3..].iter().all(|[.., changes]| *changes > 0 && changes * 4 < all), "{with}");
            Ok(())
        }),
        Trial::test("auto prefers CUDA", move || said(&first, "", "auto", &["cuda: Emulated CUDA device"])),
        Trial::test("the program lists it", move || {
            let listed = program(&second, &["devices"])?;
            let words = ["cuda:0", "Emulated CUDA device", "CUDA 12.0, compute capability 8.0, 8.0 GiB", "passed"];
            contains(&listed, &words)
        }),
        Trial::test("the program evaluates a model on it", move || {
            let text = [
                "--text",
                "examples/tiny-llama/validation.txt",
                "--documents",
                "<|endoftext|>",
                "--max-documents",
                "1",
            ];
            let eval = [&["eval", "examples/tiny-llama", "--window", "64", "--json"][..], &text].concat();
            let perplexity = |device: &str| -> Result<f64, Failed> {
                let json: serde_json::Value =
                    serde_json::from_str(&program(&third, &[&eval[..], &["--device", device]].concat())?)?;
                json["perplexity"].as_f64().ok_or_else(|| format!("no perplexity in {json}").into())
            };
            let (cpu, cuda) = (perplexity("cpu")?, perplexity("cuda")?);
            // Sums in another order move it by 1e-6 of itself.
            if (cuda / cpu - 1.0).abs() < 1e-4 {
                Ok(())
            } else {
                Err(format!("{cuda} on CUDA, {cpu} on the CPU").into())
            }
        }),
    ]
}

/// A driver that cannot be used: listing and opening say why, and `auto` goes on without it.
fn fails(driver: &Path, plan: &str, words: &[&str]) -> Outcome {
    let absent = ["device: no CUDA here"];
    said(driver, plan, "list", &[&absent, words].concat())?;
    if !plan.starts_with("cuDeviceGetName") {
        said(driver, plan, "open", &[&absent, words].concat())?;
    }
    said(driver, plan, "auto", &["not cuda"])
}

/// Plays a scene with a driver in a process of its own, which must end well and say these words.
fn said(driver: &Path, plan: &str, scene: &str, words: &[&str]) -> Outcome {
    contains(&told(driver, plan, scene)?, words)
}

/// What a scene says.
fn told(driver: &Path, plan: &str, scene: &str) -> Result<String, Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    output(command.env(DRIVER_VARIABLE, driver).env("EMULATION", plan).env(SCENE, scene))
}

/// The three numbers of `1 launches 2 graphs 3 changes`.
fn numbers(text: &str) -> [usize; 3] {
    let mut found = text.split(' ').filter_map(|word| word.parse().ok());
    [0; 3].map(|_| found.next().unwrap_or(usize::MAX))
}

/// What the program prints with a driver.
fn program(driver: &Path, arguments: &[&str]) -> Result<String, Failed> {
    let program = option_env!("CARGO_BIN_EXE_bitsmith").ok_or("built without the feature cli")?;
    output(Command::new(program).env(DRIVER_VARIABLE, driver).args(arguments))
}

fn output(command: &mut Command) -> Result<String, Failed> {
    let output = command.output()?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || complaints.contains("panicked") {
        return Err(format!("{}: {complaints}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn contains(text: &str, words: &[&str]) -> Outcome {
    match words.iter().find(|word| !text.contains(**word)) {
        Some(word) => Err(format!("`{word}` is missing in: {text}").into()),
        None => Ok(()),
    }
}
