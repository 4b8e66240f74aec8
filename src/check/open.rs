//! Opening a device that can be trusted.

#[cfg(feature = "wgpu")]
use super::SelfTest;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::Matrices;
#[cfg(feature = "wgpu")]
use crate::device::{Caps, DeviceKind};
use crate::device::{Device, DeviceRequest};
#[cfg(not(all(feature = "wgpu", feature = "cuda")))]
use crate::error::Error;
use crate::error::Result;

/// Opens what is asked for; every GPU must pass the [self-test](super::self_test).
///
/// `auto` takes the first NVIDIA card that passes through CUDA, else the first real GPU that passes, else the CPU; a
/// software adapter is used only when asked for by name.
///
/// ```
/// use bitsmith::check::open_device;
/// let device = pollster::block_on(open_device(&"cpu".parse()?))?;
/// assert_eq!(device.caps().backend, "cpu");
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`crate::Error::Config`] if a named adapter is not there, [`crate::Error::Device`] if it cannot be opened or computes
/// wrongly.
pub async fn open_device(request: &DeviceRequest) -> Result<Device> {
    match request {
        DeviceRequest::Cpu => Ok(Device::cpu()),
        DeviceRequest::Auto => Ok(match best_cuda().await {
            Some(device) => device,
            None => best_gpu().await.unwrap_or_else(Device::cpu),
        }),
        DeviceRequest::Wgpu(index) => wgpu(index.unwrap_or(0)).await,
        DeviceRequest::Cuda(index) => cuda(index.unwrap_or(0)).await,
    }
}

#[cfg(feature = "wgpu")]
async fn wgpu(index: usize) -> Result<Device> {
    Ok(open_adapter(index).await?.0)
}

/// Opens the wgpu adapter of this index and runs the [self-test](super::self_test). If the device fails with its
/// cooperative matrices, which few drivers have been asked for, it is opened again and tested without.
///
/// # Errors
/// As [`open_device`].
#[cfg(feature = "wgpu")]
pub async fn open_adapter(index: usize) -> Result<(Device, SelfTest)> {
    let open = async |matrices| {
        crate::device::wgpu::WgpuDevice::open_with(index, matrices).await.map(|device| Device::Wgpu(device.into()))
    };
    trusted(open, |device| device.caps().clone(), async |device| super::self_test(device).await).await
}

/// What `open` gives, once it passed `test`: with cooperative matrices, else without.
#[cfg(feature = "wgpu")]
async fn trusted<D, T>(
    open: impl AsyncFn(Matrices) -> Result<D>,
    caps: impl Fn(&D) -> Caps,
    test: impl AsyncFn(&D) -> Result<T>,
) -> Result<(D, T)> {
    let device = open(Matrices::OfGpus).await?;
    match test(&device).await {
        Ok(passed) => Ok((device, passed)),
        Err(error) if caps(&device).cooperative_matrix.is_some() => {
            drop(device);
            let device = open(Matrices::Off).await?;
            let passed = test(&device).await?;
            tracing::warn!(%error, "the cooperative matrices of this GPU are not used");
            Ok((device, passed))
        }
        Err(error) => Err(error),
    }
}

#[cfg(not(feature = "wgpu"))]
async fn wgpu(_: usize) -> Result<Device> {
    Err(Error::config("device", "this bitsmith was built without the feature `wgpu`; use cpu"))
}

#[cfg(feature = "wgpu")]
async fn best_gpu() -> Option<Device> {
    for index in candidates(&crate::device::wgpu::WgpuDevice::list().await) {
        match wgpu(index).await {
            Ok(device) => return Some(device),
            Err(error) => tracing::warn!(%error, "this GPU is not used"),
        }
    }
    None
}

#[cfg(not(feature = "wgpu"))]
async fn best_gpu() -> Option<Device> {
    None
}

#[cfg(feature = "cuda")]
async fn cuda(index: usize) -> Result<Device> {
    open_card(index).await.map(|(device, _)| device)
}

/// Opens the NVIDIA card of this index, with the self-test that it passed. A card that passes only without its entries for
/// compute capability 9.x is used without them.
///
/// # Errors
/// As [`open_device`].
#[cfg(feature = "cuda")]
pub async fn open_card(index: usize) -> Result<(Device, super::SelfTest)> {
    use crate::device::cuda::CudaDevice;
    let device = Device::Cuda(CudaDevice::open(index)?.into());
    let error = match super::self_test(&device).await {
        Ok(test) => return Ok((device, test)),
        Err(error) if device.caps().wgmma => error,
        Err(error) => return Err(error),
    };
    tracing::warn!(%error, "this card is tried without its entries for compute capability 9.x");
    // What failed may have cost the card's context, which goes with its last device.
    drop(device);
    let device = Device::Cuda(CudaDevice::open(index)?.without_wgmma().into());
    let test = super::self_test(&device).await?;
    Ok((device, test))
}

#[cfg(not(feature = "cuda"))]
async fn cuda(_: usize) -> Result<Device> {
    Err(Error::config("device", "this bitsmith was built without the feature `cuda`; use wgpu or cpu"))
}

/// Without a driver there is nothing to tell: most machines have none.
#[cfg(feature = "cuda")]
async fn best_cuda() -> Option<Device> {
    let cards = match crate::device::cuda::CudaDevice::list() {
        Ok(cards) => cards.len(),
        Err(error) => {
            tracing::debug!(%error, "CUDA is not used");
            0
        }
    };
    for index in 0..cards {
        match cuda(index).await {
            Ok(device) => return Some(device),
            Err(error) => tracing::warn!(%error, "this card is not used through CUDA"),
        }
    }
    None
}

#[cfg(not(feature = "cuda"))]
async fn best_cuda() -> Option<Device> {
    None
}

/// The adapters that `auto` tries, in order: real GPUs only, for a software one is slower than the CPU device.
#[cfg(feature = "wgpu")]
fn candidates(adapters: &[Caps]) -> Vec<usize> {
    (0..adapters.len()).filter(|i| adapters[*i].kind == DeviceKind::Gpu).collect()
}

#[cfg(all(test, feature = "wgpu"))]
mod tests {
    use super::*;
    use crate::error::Error;

    /// A device is what it offers here; one fails the test if `wrong` says so.
    fn opened(offers: Option<u32>, wrong: fn(&Caps) -> bool) -> (Result<(Caps, usize)>, usize) {
        let tests = std::cell::Cell::new(0);
        let open = async |matrices| {
            let cooperative_matrix = offers.filter(|_| matrices == Matrices::OfGpus);
            Ok(Caps { cooperative_matrix, ..Caps::portable() })
        };
        let test = async |device: &Caps| {
            tests.set(tests.get() + 1);
            let error = Error::Device { device: device.name.clone(), detail: "computes wrongly".into() };
            if wrong(device) { Err(error) } else { Ok(tests.get()) }
        };
        (pollster::block_on(trusted(open, Caps::clone, test)), tests.get())
    }

    #[test]
    fn cooperative_matrices_that_compute_wrongly_are_not_used() {
        let multiplies = |caps: &Caps| caps.cooperative_matrix.is_some();
        let side =
            |(opened, tests): (Result<(Caps, usize)>, usize)| (opened.ok().map(|(c, _)| c.cooperative_matrix), tests);
        assert_eq!(side(opened(Some(16), |_| false)), (Some(Some(16)), 1));
        assert_eq!(side(opened(Some(16), multiplies)), (Some(None), 2));
        assert_eq!(side(opened(Some(16), |_| true)), (None, 2));
        assert_eq!(side(opened(None, |_| true)), (None, 1));
        assert_eq!(side(opened(None, multiplies)), (Some(None), 1));
    }

    #[test]
    fn auto_never_takes_a_software_adapter() {
        let adapters = |kinds: &[DeviceKind]| -> Vec<Caps> {
            kinds.iter().map(|kind| Caps { kind: *kind, ..Caps::portable() }).collect()
        };
        use DeviceKind::{Gpu, Software};
        let table: [(&[DeviceKind], &[usize]); 5] = [
            (&[], &[]),
            (&[Software], &[]),
            (&[Gpu, Software], &[0]),
            (&[Software, Gpu], &[1]),
            (&[Gpu, Gpu, Software], &[0, 1]),
        ];
        for (kinds, expected) in table {
            assert_eq!(candidates(&adapters(kinds)), expected, "{kinds:?}");
        }
    }
}
