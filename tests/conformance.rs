//! One suite for every device: each case of each kernel in each variant, on each device present, against the plain
//! twin. `BITSMITH_REQUIRE=wgpu,cuda` makes a missing device a failure; a device that is absent is named. CUDA runs twice:
//! on the cards that are there, and on a driver that emulates one, built from the same kernels for the host. What a device
//! lacks for some cases is a trial of its own, ignored, whose name says how many they are. Products by cooperative matrices
//! run on adapters without them too, with the part that multiplies replaced by plain arithmetic: all else is as it is.
//! `BITSMITH_SOFTWARE_MATRICES=1` takes those of software adapters as well, which recent ones have.

#[cfg(feature = "cuda")]
#[path = "cuda/emulated.rs"]
mod emulated;

use std::collections::BTreeMap;
#[cfg(feature = "cuda")]
use std::sync::Arc;

use bitsmith::Device;
use bitsmith::check::{self, Case};
use bitsmith::device::Caps;
use bitsmith::dispatch::{Needs, Part, Role, Variant};
use bitsmith::kernel;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let mut arguments = Arguments::from_args();
    // One device, one queue: cases in parallel would only wait for each other.
    arguments.test_threads.get_or_insert(4);
    let mut trials = vec![Trial::test("every variant of every kernel has a case", complete)];
    trials.extend(device_trials("cpu", Ok(Device::cpu())));
    trials.extend(wgpu_trials());
    trials.extend(cuda_trials());
    libtest_mimic::run(&arguments, trials).exit();
}

#[cfg(feature = "wgpu")]
fn wgpu_trials() -> Vec<Trial> {
    use bitsmith::device::wgpu::{Matrices, WgpuDevice};
    let software = std::env::var_os("BITSMITH_SOFTWARE_MATRICES").is_some();
    let matrices = if software { Matrices::OfAll } else { Matrices::OfGpus };
    let found = pollster::block_on(WgpuDevice::list());
    if found.is_empty() {
        return device_trials("wgpu", Err("no adapter found".to_owned()));
    }
    let trials = found.iter().enumerate().flat_map(|(i, caps)| {
        let name = format!("wgpu:{}", caps.name.split(' ').next().unwrap_or_default());
        let device = pollster::block_on(WgpuDevice::open_with(i, matrices)).map(|d| Device::Wgpu(d.into()));
        device_trials(&name, device.map_err(|e| e.to_string()))
    });
    trials.collect()
}

#[cfg(not(feature = "wgpu"))]
fn wgpu_trials() -> Vec<Trial> {
    device_trials("wgpu", Err("built without the feature wgpu".to_owned()))
}

/// The cards of this machine, and the emulation. A bundle that runs far from its sources has no emulation.
#[cfg(feature = "cuda")]
fn cuda_trials() -> Vec<Trial> {
    use bitsmith::device::cuda::CudaDevice;
    let open = |device: bitsmith::Result<CudaDevice>| device.map(|d| Device::Cuda(d.into())).map_err(|e| e.to_string());
    let mut trials = match CudaDevice::list() {
        Ok(cards) => (0..cards.len())
            .flat_map(|i| {
                let library = product_trials(&format!("cuda:{i} cublaslt"), None, move || {
                    Ok(CudaDevice::open(i)?.with_products(None, 1))
                });
                device_trials(&format!("cuda:{i}"), open(CudaDevice::open(i))).into_iter().chain(library)
            })
            .collect(),
        Err(error) => device_trials("cuda", Err(error.to_string())),
    };
    let driver = emulated::driver();
    let emulated = |index| driver.clone().and_then(|library| open(CudaDevice::open_from(&library, index)));
    trials.extend(device_trials("emulated cuda", emulated(0)));
    // The second card differs from the first in what its own entries take.
    trials.extend(device_trials("emulated cuda 9.0", emulated(1)));
    // Without the driver its absence was named already.
    if let (Ok(driver), Ok(library)) = (driver, emulated::cublaslt()) {
        trials.extend(product_trials("emulated cublaslt", Some(1), move || {
            Ok(CudaDevice::open_from(&driver, 0)?.with_products(Some(&library), 1))
        }));
    }
    trials
}

/// Cases that are matrix products on devices whose products cuBLASLt computes; how many it must compute of each, where it
/// is known to be there and to take them all.
#[cfg(feature = "cuda")]
fn product_trials(
    name: &str,
    must: Option<u64>,
    open: impl Fn() -> bitsmith::Result<bitsmith::device::cuda::CudaDevice> + Clone + Send + 'static,
) -> Vec<Trial> {
    // Variants for cooperative matrices are of shaders alone.
    let own = |case: &Case| case.variant.needs().cooperative_matrix.is_none();
    let product = |case: &Case| (case.kernel.product)(case.data().0, &case.variant).is_some();
    let products = check::all().into_iter().filter(own).filter(product);
    let trial = |case: Case| {
        let (open, label) = (open.clone(), format!("{}/{name}/{}/{}", case.kernel.name, case.variant, case.size));
        Trial::test(label, move || {
            let cuda = Arc::new(open()?);
            pollster::block_on(case.check(&Device::Cuda(cuda.clone()))).map_err(|e| Failed::from(e.to_string()))?;
            match cuda.products() {
                computed if must.is_none_or(|must| must == computed) => Ok(()),
                computed => Err(format!("cuBLASLt computed {computed} products").into()),
            }
        })
    };
    products.map(trial).collect()
}

#[cfg(not(feature = "cuda"))]
fn cuda_trials() -> Vec<Trial> {
    device_trials("cuda", Err("built without the feature cuda".to_owned()))
}

/// The cases on one device; without it one trial that is ignored, or fails where the device is required.
fn device_trials(name: &str, device: Result<Device, String>) -> Vec<Trial> {
    let device = match device {
        Ok(device) => device,
        Err(why) => {
            let names = |d: &str| !d.is_empty() && name.starts_with(d);
            let required = std::env::var("BITSMITH_REQUIRE").is_ok_and(|r| r.split(',').any(names));
            return vec![
                Trial::test(format!("{name} is absent: {why}"), || Err(why.into())).with_ignored_flag(!required),
            ];
        }
    };
    let differs = |case: &Case| !name.ends_with("9.0") || case.takes_hopper();
    let (able, unable): (Vec<Case>, Vec<Case>) =
        check::all().into_iter().filter(differs).partition(|c| device.caps().meet(c.variant.needs()));
    let (count, lacking) = (able.len(), unable.len());
    eprintln!("{name}: {} with {count} cases, {lacking} need what it lacks", device.caps().name);
    let mut absent: BTreeMap<String, usize> = BTreeMap::new();
    for case in &unable {
        *absent.entry(device.caps().lacking(case.variant.needs()).join(", ")).or_default() += 1;
    }
    let ignored = absent.into_iter().map(|(what, n)| {
        Trial::test(format!("{name}: {n} cases need {what}, which it lacks"), || Ok(())).with_ignored_flag(true)
    });
    let emulated = unable.iter().filter_map(|case| emulated_matrices(device.caps(), case));
    let trial = |case: Case| {
        let device = device.clone();
        let label = format!("{}/{name}/{}/{}", case.kernel.name, case.variant, case.size);
        Trial::test(label, move || pollster::block_on(case.check(&device)).map_err(|e| Failed::from(e.to_string())))
    };
    able.into_iter().chain(emulated).map(trial).chain(ignored).collect()
}

/// Cooperative matrices by plain arithmetic, for shaders that are 16 of them wide.
static MATRIX_16: Part = Part {
    name: "matrix_16_emulated",
    wgsl: concat!("const SIDE = 16u;\n", include_str!("shaders/matrix_emulated.wgsl")),
    role: Role::Matrix,
    id: 0,
    needs: Needs { f16: true, subgroups: true, cooperative_matrix: None },
    dtype: None,
};

/// The variants that run by plain arithmetic, of the many that would, since each takes seconds to compile: dense, and with
/// codes and scales, of x as one number in f16 and as two.
const EMULATED: [&str; 3] = [
    "x_f32.w_f16.matrix_16",
    "x_f32.codes_dense.zero_byte.scale_f16.matrix_16.BITS=4",
    "x_f16_native.codes_dense.zero_byte.scale_f16.matrix_16.BITS=4",
];

/// A case by cooperative matrices as one that does without, where the device can run it.
fn emulated_matrices(caps: &Caps, case: &Case) -> Option<Case> {
    let wanted = EMULATED.contains(&&*case.variant.to_string()) && caps.backend != "cuda";
    let plain = |p: &'static Part| if p.role == Role::Matrix { &MATRIX_16 } else { p };
    let variant = case.variant.parts().map(plain).fold(Variant::new(), Variant::part);
    let variant = case.variant.constants().fold(variant, |v, (name, value)| v.constant(name, value));
    (wanted && caps.meet(variant.needs())).then(|| {
        let mut emulated = case.clone();
        emulated.variant = variant;
        emulated
    })
}

fn complete() -> Result<(), Failed> {
    let cases = check::all();
    for spec in kernel::ALL {
        for variant in (spec.variants)() {
            let wanted = variant.to_string();
            if !cases.iter().any(|c| c.kernel.name == spec.name && c.variant.to_string() == wanted) {
                return Err(format!("no case of {} {wanted}", spec.name).into());
            }
        }
    }
    Ok(())
}
