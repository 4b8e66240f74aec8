//! A device that computes wrongly is refused by name, with its driver and the kernel that failed.

use bitsmith::Device;
use bitsmith::check::{self, Binding, Case, Tolerance};
use bitsmith::dispatch::{Access, Bindings, CpuRun, Kernel, Variant};
use libtest_mimic::{Failed, Trial};

use super::expect_error;

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("wrong/the cpu", || refused(&Device::cpu())),
        Trial::test("wrong/what a device leaves unwritten or writes too far", edges),
        Trial::test("wrong/the cpu itself passes", || {
            let passed = pollster::block_on(check::self_test(&Device::cpu()))?;
            assert_eq!(passed.kernels, bitsmith::kernel::ALL.len());
            Ok(())
        }),
    ]
}

/// `out = 2 x`, whose shader and fast implementation err as `ERROR` says: by one in the third element, by leaving it
/// out, or by one element too many.
struct Doubled<const ERROR: u32>;

const VALUE: u32 = 0;
const GAP: u32 = 1;
const OVERRUN: u32 = 2;
const COUNT: usize = 5;

impl<const ERROR: u32> Kernel for Doubled<ERROR> {
    type Params = [u32; 4];
    const NAME: &'static str = "doubled";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write];
    const WGSL: &'static str = "
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> out: array<f32>;
        @group(0) @binding(2) var<uniform> count: vec4<u32>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) at: vec3<u32>) {
            if at.x < count.x { out[at.x] = 2.0 * x[at.x] + select(0.0, 1.0, at.x == 2u); }
        }";
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

fn edges() -> Result<(), Failed> {
    let cpu = Device::cpu();
    let check = |case: Case| pollster::block_on(case.check(&cpu));
    expect_error(check(case::<GAP>()), &["doubled", "element 2 was never written"])?;
    expect_error(check(case::<OVERRUN>()), &["doubled", "guard word 0 was overwritten"])
}
