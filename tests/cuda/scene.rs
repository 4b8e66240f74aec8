//! What a process of its own does with the driver that its environment names, and says of it.

use bitsmith::device::cuda::CudaDevice;
use bitsmith::dispatch::{Access, Bindings, Kernel, Variant};
use bitsmith::{Buffer, Device, Recorder, Result, check};

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
    let device = Device::Cuda(CudaDevice::open(0)?.into());
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

    fn grid(_: &[u32; 4], _: &Variant) -> [u32; 3] {
        [1, 1, 1]
    }

    fn run(_: &[u32; 4], _: &Variant, _: Bindings<'_>) {}
}
