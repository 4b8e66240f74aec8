//! A device that computes wrongly is refused by name, with its driver and the kernel that failed.

use bitsmith::check::{self, Binding, Case, Tolerance};
use bitsmith::dispatch::{Access, Bindings, CpuRun, Kernel, Variant};
use bitsmith::{Device, Recorder};
use libtest_mimic::{Failed, Trial};

use super::expect_error;

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("wrong/the cpu", || refused(&Device::cpu())),
        Trial::test("wrong/what the cpu leaves unwritten or writes too far", || edges(&Device::cpu())),
        Trial::test("wrong/the cpu itself passes", || {
            let passed = pollster::block_on(check::self_test(&Device::cpu()))?;
            assert_eq!(passed.kernels, bitsmith::kernel::ALL.len());
            Ok(())
        }),
    ]
}

/// `out = 2 x`, whose shader and fast implementation err as `ERROR` says: by one in the third element, by leaving it
/// out, by one element too many, or not at all.
struct Doubled<const ERROR: u32>;

/// The shader up to the body of its condition.
macro_rules! shader {
    ($condition:literal) => {
        concat!(
            "@group(0) @binding(0) var<storage, read> x: array<f32>;
            @group(0) @binding(1) var<storage, read_write> out: array<f32>;
            @group(0) @binding(2) var<uniform> count: vec4<u32>;
            @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) at: vec3<u32>) { if ",
            $condition,
            " { "
        )
    };
}

const VALUE: u32 = 0;
const GAP: u32 = 1;
const OVERRUN: u32 = 2;
const RIGHT: u32 = 3;
const COUNT: usize = 5;

impl<const ERROR: u32> Kernel for Doubled<ERROR> {
    type Params = [u32; 4];
    /// A device keeps one pipeline a name.
    const NAME: &'static str = match ERROR {
        VALUE => "doubled",
        GAP => "doubled with a gap",
        OVERRUN => "doubled and more",
        _ => "doubled rightly",
    };
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write];
    const WGSL: &'static str = match ERROR {
        VALUE => concat!(shader!("at.x < count.x"), "out[at.x] = 2.0 * x[at.x] + f32(at.x == 2u); } }"),
        GAP => concat!(shader!("at.x < count.x && at.x != 2u"), "out[at.x] = 2.0 * x[at.x]; } }"),
        OVERRUN => concat!(shader!("at.x <= count.x"), "out[at.x] = 2.0 * x[min(at.x, count.x - 1u)]; } }"),
        _ => concat!(shader!("at.x < count.x"), "out[at.x] = 2.0 * x[at.x]; } }"),
    };
    const FAST: Option<CpuRun<[u32; 4]>> = Some(|p, variant, bindings| {
        let [x, mut out] = bindings.take();
        let x = x.f32().iter().chain(&[0.0]);
        for (i, (out, x)) in out.f32_mut().iter_mut().zip(x).enumerate() {
            match (ERROR, i) {
                (VALUE, 2) => *out = 2.0 * x + 1.0,
                (GAP, 2) => {}
                _ if i < p[0] as usize || ERROR == OVERRUN => *out = 2.0 * x,
                _ => {}
            }
        }
        let _ = variant;
    });

    fn variants() -> Vec<Variant> {
        vec![Variant::new()]
    }

    fn grid(_: &[u32; 4], _: &Variant) -> [u32; 3] {
        [1, 1, 1]
    }

    fn run(p: &[u32; 4], _: &Variant, bindings: Bindings<'_>) {
        let [x, mut out] = bindings.take();
        out.f32_mut()[..p[0] as usize].iter_mut().zip(x.f32()).for_each(|(out, x)| *out = 2.0 * x);
    }
}

fn case<const ERROR: u32>() -> Case {
    let x = bytemuck::cast_vec(vec![1.0f32, 2.0, 3.0, 4.0, 5.0]);
    let bindings = vec![Binding::In(x), Binding::Out(COUNT, Tolerance::ELEMENTWISE)];
    Case::new::<Doubled<ERROR>>(Variant::new(), COUNT.to_string(), &[COUNT as u32, 0, 0, 0], bindings)
}

/// The check that the self-test runs over its own cases.
pub fn refused(device: &Device) -> Result<(), Failed> {
    let caps = device.caps();
    let result = pollster::block_on(Case::check_all(&[case::<VALUE>()], device));
    expect_error(
        result,
        &[&caps.name, &caps.driver, "doubled/plain/5", "computes wrongly", "element 2 is 7e0", "not 6e0"],
    )
}

/// What a device leaves unwritten, writes behind its result, or in front of it.
pub fn edges(device: &Device) -> Result<(), Failed> {
    let check = |case: Case| pollster::block_on(case.check(device));
    expect_error(check(case::<GAP>()), &["doubled", "element 2 was never written"])?;
    expect_error(check(case::<OVERRUN>()), &["doubled", "guard word 0 behind it was overwritten"])?;
    // A device that takes no notice of where a binding starts, here by binding the memory from its start.
    let case = case::<RIGHT>();
    let buffers = case.upload(device)?;
    let mut recorder = Recorder::new(device);
    case.dispatch(&mut recorder, &buffers)?;
    let params = bytemuck::bytes_of(&[1u32, 0, 0, 0]).to_vec();
    recorder.dispatch_spec(case.kernel, Variant::new(), &params, &[&buffers[0], &buffers[1]])?;
    recorder.submit()?;
    let result = pollster::block_on(case.verify(device, &buffers));
    expect_error(result, &["doubled", "binding 1", "guard word 64 before it was overwritten"])?;
    Ok(check(case)?)
}
