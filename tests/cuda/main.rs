//! CUDA without a card: what becomes of a driver that is absent, too old, broken, short of memory or failing, and how the
//! device behaves on one that is emulated on the host. Each scene runs in a process of its own, as a driver may end it.
//! `BITSMITH_REQUIRE=emulated` makes it a failure that the emulation cannot be built.

mod emulated;
mod repeated;
mod sanitized;
mod scene;

use std::path::Path;
use std::process::Command;

use bitsmith::device::cuda::DRIVER_VARIABLE;
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
            trials.extend(repeated::graphs(&driver));
        }
        Err(why) => trials.push(absent("broken drivers", why)),
    }
    match emulated::driver() {
        Ok(driver) => {
            trials.extend(whole(&driver));
            match emulated::cublaslt() {
                Ok(library) => trials.extend(repeated::products(&driver, &library)),
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
    let [driver, other, third] = [driver.to_owned(), driver.to_owned(), driver.to_owned()];
    trials.push(Trial::test("entries of their own are for cards of compute capability 9.x", move || {
        said(&third, "", "wgmma", &["[false, true]"])?;
        said(&third, "capability=89", "wgmma", &["[false, false]"])?;
        said(&third, "capability=100", "wgmma", &["[false, false]"])
    }));
    trials.push(Trial::test("a device that is not there", move || {
        said(&other, "", "open:5", &["cuda:5 is not there; 2 device(s)"])
    }));
    trials.push(Trial::test("a device that fails its self-test is left alone", move || {
        said(&driver, "", "auto", &["not cuda"])
    }));
    trials
}

/// A card that has entries of its own: where they fail it is used without them.
const SPECIAL: [(&str, &[&str]); 4] = [
    ("nothing wrong", &["passed with wgmma"]),
    ("sm_90a=222", &["passed without wgmma"]),
    ("idle_sm_90a=1", &["passed without wgmma"]),
    ("cuModuleLoadDataEx=218", &["refuses a kernel"]),
];

/// A driver that works, with all kernels.
fn whole(driver: &Path) -> Vec<Trial> {
    let [first, second, third, fourth] = [0; 4].map(|_| driver.to_owned());
    let special = SPECIAL.into_iter().map(|(plan, words)| {
        let driver = driver.to_owned();
        Trial::test(format!("entries for compute capability 9.x with {plan}"), move || {
            said(&driver, plan, "card:1", words)
        })
    });
    let whole = vec![
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
            let (first, second) = listed.split_once("cuda:1").ok_or("there is no cuda:1")?;
            let words = ["cuda:0", "Emulated CUDA device", "CUDA 12.0, compute capability 8.0, 8.0 GiB", "passed"];
            contains(first, &words)?;
            contains(second, &["compute capability 9.0", "wgmma", "passed"])
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
    ];
    whole.into_iter().chain(special).collect()
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
