//! What a process of its own does with the driver that its environment names, and says of it.

use std::ffi::{CString, c_char, c_long};

use bitsmith::device::cuda::{CudaDevice, DRIVER_VARIABLE};
use bitsmith::dispatch::{Access, Bindings, Kernel, Variant};
use bitsmith::model::{Model, Sampling, generate};
use bitsmith::{Buffer, Device, Recorder, Result, check};
use libloading::Library;

/// Plays a scene and tells how it went.
pub fn play(scene: &str) -> String {
    let result = match scene.split_once(':') {
        None if scene == "list" => CudaDevice::list().map(|cards| format!("{} cards", cards.len())),
        None if scene == "open" => CudaDevice::open(0).map(|_| "opened".to_owned()),
        None if scene == "auto" => auto(),
        None if scene == "work" => work(),
        None if scene == "repeat" => repeat(),
        None if scene == "kinds" => kinds(),
        None if scene == "generate" => tokens(),
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

/// What the emulated driver counts.
struct Emulation(Library);

impl Emulation {
    fn load() -> Self {
        let driver = std::env::var_os(DRIVER_VARIABLE).expect("a driver is named");
        // SAFETY: the driver is loaded again, which does nothing more.
        Self(unsafe { Library::new(driver) }.expect("the driver is there"))
    }

    /// Launches of kernels, of graphs, and changes of nodes so far.
    fn calls(&self) -> [c_long; 3] {
        ["cuLaunchKernel", "cuGraphLaunch", "cuGraphExecKernelNodeSetParams_v2"].map(|function| {
            let name = CString::new(function).expect("a name");
            // SAFETY: the function has this signature, and the name ends with a zero.
            unsafe {
                let calls = self.0.get::<unsafe extern "C" fn(*const c_char) -> c_long>("emulationCalls");
                calls.expect("the emulation counts")(name.as_ptr())
            }
        })
    }

    fn since(&self, before: [c_long; 3]) -> String {
        let now = self.calls();
        let [launches, graphs, changes] = [0, 1, 2].map(|i| now[i] - before[i]);
        format!("{launches} launches {graphs} graphs {changes} changes")
    }

    /// Graphs that are not destroyed.
    fn graphs(&self) -> c_long {
        // SAFETY: the function has this signature.
        unsafe { self.0.get::<unsafe extern "C" fn() -> c_long>("emulationGraphs").expect("the emulation counts")() }
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
