//! Layers that train with quantization in the loop: gradients by hand, what is deployed against what was trained, the same
//! bytes for the same seed, digits. On the CPU and, as far as they compute, on the first adapter; `BITSMITH_REQUIRE=wgpu` makes
//! a missing one a failure. The digits need the folder `$BITSMITH_SHARED`, else `../shared`.

mod config;
mod convolution;
mod deployed;
mod digits;
mod digits_shared;
mod finetune;
mod impatient;
mod language;
mod saved;
mod seeds;
mod straight_through;
mod swapped;

use bitsmith::Device;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = vec![
        Trial::test("config/what cannot be is refused", || config::refused().map_err(failed)),
        Trial::test("config/a network is read as it was written", || config::round_trip().map_err(failed)),
        Trial::test("convolution/what cannot be is refused", || convolution::refused().map_err(failed)),
        Trial::test("convolution/bars are told apart", || convolution::trains().map_err(failed)),
        Trial::test("seeds/the same seed gives the same bytes", || seeds::same_bytes().map_err(failed)),
        Trial::test("swapped/a language model trains and is deployed", || swapped::trains().map_err(failed)),
    ];
    trials.extend([
        Trial::test("language/every family trains", || language::families().map_err(failed)),
        Trial::test("language/a stopped training goes on to the same bytes", || language::resumes().map_err(failed)),
        Trial::test("language/what is packed predicts as what trained", || language::packed().map_err(failed)),
        Trial::test("language/what cannot be trained is refused", || language::refused().map_err(failed)),
    ]);
    trials.extend([
        Trial::test("finetune/a training gives back what was lost", || finetune::recovers().map_err(failed)),
        Trial::test("finetune/a stopped run goes on to the same bytes", || finetune::resumes().map_err(failed)),
        Trial::test("finetune/what has no training is refused", || finetune::refused().map_err(failed)),
    ]);
    trials.extend([
        Trial::test("saved/what is no deployed network is refused", || saved::refused().map_err(failed)),
        Trial::test("saved/a classifier is trained, packed and scored", || saved::classifier().map_err(failed)),
        Trial::test("saved/a stopped classifier goes on to the same bytes", || saved::resumes().map_err(failed)),
    ]);
    trials.extend(digits::trials());
    trials.extend(digits_shared::trials());
    trials.extend(on("cpu", &Device::cpu()));
    trials.extend(gpu());
    libtest_mimic::run(&arguments, trials).exit();
}

/// What is to hold on every device.
fn on(name: &str, device: &Device) -> Vec<Trial> {
    let trial = |what: &str, run: fn(&Device) -> bitsmith::Result<()>| {
        let device = device.clone();
        Trial::test(format!("{name}/{what}"), move || run(&device).map_err(failed))
    };
    vec![
        trial("gradients go straight through", straight_through::by_hand),
        trial("what is deployed is what was evaluated", deployed::equal),
        trial("convolutions and pools by hand", convolution::by_hand),
        trial("a convolution is deployed as it was evaluated", convolution::deployed),
        trial("a layer says what it runs", deployed::selected),
        trial("a deployed network is read as it was written", saved::round_trip),
        trial("a language model learns", language::learns),
    ]
}

fn failed(error: bitsmith::Error) -> Failed {
    error.to_string().into()
}

#[cfg(feature = "wgpu")]
fn gpu() -> Vec<Trial> {
    use bitsmith::device::wgpu::WgpuDevice;
    match pollster::block_on(WgpuDevice::open(0)) {
        Ok(device) => on("wgpu", &Device::Wgpu(device.into())),
        Err(error) => absent(error.to_string()),
    }
}

#[cfg(not(feature = "wgpu"))]
fn gpu() -> Vec<Trial> {
    absent("built without the feature wgpu".into())
}

fn absent(why: String) -> Vec<Trial> {
    let required = std::env::var("BITSMITH_REQUIRE").is_ok_and(|r| r.split(',').any(|d| d == "wgpu"));
    vec![Trial::test(format!("wgpu is absent: {why}"), move || Err(why.into())).with_ignored_flag(!required)]
}
