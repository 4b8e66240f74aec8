//! What a process of its own does with the driver that its environment names, and says of it.

use std::ffi::{CString, c_char, c_long};

use bitsmith::device::cuda::{CUBLASLT_VARIABLE, CudaDevice, DRIVER_VARIABLE};
use bitsmith::dispatch::{Access, Bindings, Kernel, Variant};
use bitsmith::model::{Model, Sampling, generate};
use bitsmith::op::{self, Activations, DenseWeight};
use bitsmith::{Buffer, Device, Recorder, Result, Tensor, check};
use libloading::Library;

/// Plays a scene and tells how it went.
pub fn play(scene: &str) -> String {
    let result = match scene.split_once(':') {
        None if scene == "list" => CudaDevice::list().map(|cards| format!("{} cards", cards.len())),
        None if scene == "wgmma" => {
            CudaDevice::list().map(|cards| format!("{:?}", cards.iter().map(|caps| caps.wgmma).collect::<Vec<_>>()))
        }
        None if scene == "open" => CudaDevice::open(0).map(|_| "opened".to_owned()),
        None if scene == "auto" => auto(),
        None if scene == "work" => work(),
        None if scene == "repeat" => repeat(),
        None if scene == "kinds" => kinds(),
        None if scene == "generate" => tokens(),
        None if scene == "products" => products(),
        Some(("card", index)) => card(index.parse().unwrap()),
        Some(("open", index)) => CudaDevice::open(index.parse().unwrap()).map(|_| "opened".to_owned()),
        _ => panic!("there is no scene {scene}"),
    };
    result.unwrap_or_else(|error| error.to_string())
}

fn auto() -> Result<String> {
    let device = pollster::block_on(check::open_device(&"auto".parse()?))?;
    let caps = device.caps();
    Ok(if caps.backend == "cuda" { format!("cuda: {}", caps.name) } else { format!("not cuda: {}", caps.name) })
}

/// Opens a card that can be trusted.
fn card(index: usize) -> Result<String> {
    let (device, _) = pollster::block_on(check::open_card(index))?;
    Ok(format!("passed {} wgmma", if device.caps().wgmma { "with" } else { "without" }))
}

/// Three steps, then memory, then a step again: each says `ok` or why not.
fn work() -> Result<String> {
    let device = open()?;
    let say = |result: Result<()>| result.map_or_else(|error| error.to_string(), |()| "ok".to_owned());
    let steps: Vec<String> = (0..3).map(|_| say(step(&device))).collect();
    let more: Result<Vec<Buffer>> = (0..2).map(|_| device.alloc(48 << 10)).collect();
    let memory = say(more.map(drop));
    Ok(format!("steps: {}; memory: {memory}; after: {}", steps.join(", "), say(step(&device))))
}

/// Uploads, doubles and reads.
fn step(device: &Device) -> Result<()> {
    let x = device.upload(&[1.0f32, 2.0, 3.0])?;
    let out = device.alloc(12)?;
    let mut recorder = Recorder::new(device);
    recorder.dispatch::<Doubled>(&[3, 0, 0, 0], Variant::new(), &[&x, &out])?;
    let doubled = pollster::block_on(recorder.submit_and_read::<f32>(&out))?;
    assert_eq!(doubled, [2.0, 4.0, 6.0]);
    Ok(())
}

/// The same work five times, with other numbers, sizes and memory; it tells what each time took.
fn repeat() -> Result<String> {
    let (driver, device) = (Emulation::load(), open()?);
    let mut told = Vec::new();
    for (i, length) in [3, 3, 500, 64, 500].into_iter().enumerate() {
        if i == 2 {
            // What is idle goes back to the driver.
            device.set_memory_cap(device.memory().allocated);
            drop(device.alloc(1 << 20));
            device.set_memory_cap(u64::MAX);
        }
        let before = driver.calls();
        let done = chain(&device, 6, length);
        told.push(done.map_or_else(|error| error.to_string(), |()| driver.since(before)));
    }
    drop(device);
    Ok(format!("{}; left: {}", told.join(", "), driver.graphs()))
}

/// Nine kinds of work, each twice, then the first two times more; it tells how many graphs there are at most.
fn kinds() -> Result<String> {
    let (driver, device) = (Emulation::load(), open()?);
    let (mut most, mut told) = (0, Vec::new());
    for steps in (4..=12).flat_map(|steps| [steps; 2]).chain([4, 4]) {
        let before = driver.calls();
        chain(&device, steps, 5)?;
        told.push(driver.since(before));
        most = most.max(driver.graphs());
    }
    drop(device);
    Ok(format!("{}; most: {most}; left: {}", told[18..].join(", "), driver.graphs()))
}

/// Tokens of a model, and what each took.
fn tokens() -> Result<String> {
    let (driver, device) = (Emulation::load(), open()?);
    let model = Model::open("examples/tiny-llama".as_ref(), &device)?;
    let (mut before, mut told) = (driver.calls(), Vec::new());
    let each = |_| {
        told.push(driver.since(before));
        before = driver.calls();
        true
    };
    let done = pollster::block_on(generate(&model, &[1, 5, 9], 6, Sampling::default(), each))?;
    Ok(format!("tokens: {:?}; {}", done.tokens, told.join(", ")))
}

/// Four large products, three times; it tells what each time took, what the library named by the environment computed and
/// was asked, and what of it is left.
fn products() -> Result<String> {
    const SHAPE: [usize; 3] = [64, 128, 256];
    let [batch, rows, cols] = SHAPE;
    let (driver, cuda) = (Emulation::load(), std::sync::Arc::new(CudaDevice::open(0)?));
    let device = Device::Cuda(cuda.clone());
    // Sums of integers are exact in any order.
    let numbers = |count: usize, period: usize| (0..count).map(|i| (i % period) as f32 - 2.0).collect::<Vec<f32>>();
    let (x, w) = (numbers(batch * cols, 7), numbers(rows * cols, 5));
    let expected = |i: usize| (0..cols).map(|k| x[i / rows * cols + k] * w[i % rows * cols + k]).sum::<f32>();
    let expected: Vec<f32> = (0..batch * rows).map(expected).collect();
    let weight = DenseWeight::upload(&device, &Tensor::from_f32(vec![rows, cols], &w)?)?;
    let input = Activations::upload(&device, batch, cols, &x)?;
    let mut told = Vec::new();
    for _ in 0..3 {
        let before = driver.calls();
        let mut recorder = Recorder::new(&device);
        let all = (0..4).map(|_| op::dense(&mut recorder, &input, &weight)).collect::<Result<Vec<_>>>()?;
        recorder.submit()?;
        for y in &all {
            assert_eq!(pollster::block_on(y.read(&device))?, expected);
        }
        told.push(driver.since(before));
    }
    let computed = cuda.products();
    drop((device, cuda, weight, input));
    let library = Emulation::named(CUBLASLT_VARIABLE);
    let asked = library.as_ref().map_or(0, |library| library.count("cublasltCalls", "cublasLtMatmulAlgoGetHeuristic"));
    let left = library.as_ref().map_or(0, |library| library.left("cublasltObjects"));
    Ok(format!("{}; computed {computed}, asked {asked}, left {left}", told.join(", ")))
}

fn open() -> Result<Device> {
    Ok(Device::Cuda(CudaDevice::open(0)?.into()))
}

/// Doubles numbers so many times, each time into memory of its own.
fn chain(device: &Device, steps: u32, length: u32) -> Result<()> {
    let numbers: Vec<f32> = (1..=length).map(|i| i as f32).collect();
    let mut last = device.upload(&numbers)?;
    let mut recorder = Recorder::new(device);
    for _ in 0..steps {
        let next = recorder.alloc(4 * numbers.len())?;
        recorder.dispatch::<Doubled>(&[length, 0, 0, 0], Variant::new(), &[&last, &next])?;
        last = next;
    }
    let doubled = pollster::block_on(recorder.submit_and_read::<f32>(&last))?;
    let expected: Vec<f32> = numbers.iter().map(|x| x * (1 << steps) as f32).collect();
    assert_eq!(doubled, expected);
    Ok(())
}

/// What an emulated library counts.
struct Emulation(Library);

impl Emulation {
    fn load() -> Self {
        Self::named(DRIVER_VARIABLE).expect("a driver is named")
    }

    /// The library that the environment names, if it is one.
    fn named(variable: &str) -> Option<Self> {
        // SAFETY: the library is loaded again, which does nothing more.
        unsafe { Library::new(std::env::var_os(variable)?) }.ok().map(Self)
    }

    /// How often a function was called.
    fn count(&self, counter: &str, function: &str) -> c_long {
        let name = CString::new(function).expect("a name");
        // SAFETY: the counter has this signature, and the name ends with a zero.
        unsafe {
            self.0.get::<unsafe extern "C" fn(*const c_char) -> c_long>(counter).expect("a counter")(name.as_ptr())
        }
    }

    /// What was made and not destroyed.
    fn left(&self, counter: &str) -> c_long {
        // SAFETY: the counter has this signature.
        unsafe { self.0.get::<unsafe extern "C" fn() -> c_long>(counter).expect("a counter")() }
    }

    /// Launches of kernels, of graphs, and changes of nodes so far.
    fn calls(&self) -> [c_long; 3] {
        ["cuLaunchKernel", "cuGraphLaunch", "cuGraphExecKernelNodeSetParams_v2"]
            .map(|function| self.count("emulationCalls", function))
    }

    fn since(&self, before: [c_long; 3]) -> String {
        let now = self.calls();
        let [launches, graphs, changes] = [0, 1, 2].map(|i| now[i] - before[i]);
        format!("{launches} launches {graphs} graphs {changes} changes")
    }

    /// Graphs that are not destroyed.
    fn graphs(&self) -> c_long {
        self.left("emulationGraphs")
    }
}

/// The kernel of `doubled.cu`.
struct Doubled;

impl Kernel for Doubled {
    type Params = [u32; 4];
    const NAME: &'static str = "doubled";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write];
    const WGSL: &'static str = "";
    /// Of which the emulation takes no more than the names.
    const PTX: Option<&'static str> = Some(
        ".version 8.0
        .visible .entry doubled(.param .u64 x, .param .u64 out, .param .align 4 .b8 p[16], .param .align 4 .b8 v[48])
        .maxntid 64, 1, 1 { ret; }",
    );

    fn variants() -> Vec<Variant> {
        vec![Variant::new()]
    }

    fn grid([count, ..]: &[u32; 4], _: &Variant) -> [u32; 3] {
        [count.div_ceil(64), 1, 1]
    }

    fn run(_: &[u32; 4], _: &Variant, _: Bindings<'_>) {}
}
