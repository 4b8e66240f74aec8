//! Quantizes the same weights on every device that is here, compares the codes and prints the times.
//!
//! `cargo run --release --example compare_devices`

use std::time::Instant;

use bitsmith::{Device, QuantizedTensor, Random, Result, Scheme, Tensor, quant};

/// Output and input features of the weight.
const SHAPE: [usize; 2] = [512, 1024];

/// What one device made of the weight.
#[derive(Debug)]
pub struct Run {
    pub device: String,
    pub tensor: QuantizedTensor,
    pub seconds: f64,
}

/// Runs every device twice: the first time a GPU also compiles its shaders.
pub async fn run() -> Result<Vec<Run>> {
    let weight = Tensor::from_f32(SHAPE.to_vec(), &Random::new(1).normals(SHAPE[0] * SHAPE[1]))?;
    let scheme: Scheme = "w4g128a".parse()?;
    let mut runs = Vec::new();
    for device in devices().await? {
        quant::quantize(&device, &weight, scheme).await?;
        let start = Instant::now();
        let tensor = quant::quantize(&device, &weight, scheme).await?;
        runs.push(Run { device: device.caps().name.clone(), tensor, seconds: start.elapsed().as_secs_f64() });
    }
    Ok(runs)
}

/// The CPU, all adapters, software ones too, and all NVIDIA cards.
async fn devices() -> Result<Vec<Device>> {
    #[allow(unused_mut, reason = "without wgpu and CUDA there is only the CPU")]
    let mut all = vec![Device::cpu()];
    #[cfg(feature = "wgpu")]
    {
        use bitsmith::device::wgpu::WgpuDevice;
        for index in 0..WgpuDevice::list().await.len() {
            all.push(Device::Wgpu(WgpuDevice::open(index).await?.into()));
        }
    }
    #[cfg(feature = "cuda")]
    {
        use bitsmith::device::cuda::CudaDevice;
        for index in 0..CudaDevice::list().map_or(0, |cards| cards.len()) {
            all.push(Device::Cuda(CudaDevice::open(index)?.into()));
        }
    }
    Ok(all)
}

fn main() -> Result<()> {
    let runs = pollster::block_on(run())?;
    println!("a {} x {} weight to 4 bits", SHAPE[0], SHAPE[1]);
    for Run { device, tensor, seconds } in &runs {
        let differ = tensor.codes().iter().zip(runs[0].tensor.codes()).filter(|(a, b)| a != b).count();
        println!("{:8.2} ms  {differ} codes differ from the first  {device}", seconds * 1e3);
    }
    Ok(())
}
