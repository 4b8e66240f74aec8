//! What becomes of errors that wgpu reports. On a device that we opened they come through its callbacks. On a caller's
//! device the callbacks are the caller's: there, error scopes catch what our own calls raise and nothing else.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};

/// Something a callback left to be taken.
type Slot<T> = Arc<Mutex<Option<T>>>;

/// How errors of one device reach us.
#[derive(Debug)]
pub(super) enum Faults {
    /// Through the device's callbacks: the first fault that nobody has taken yet, and why the device was lost.
    Callbacks { fault: Slot<Error>, lost: Slot<String> },
    /// Through error scopes, which tell of no loss: this buffer can be mapped only while the device is there.
    Scopes { probe: Mutex<wgpu::Buffer> },
}

/// What an error scope may be asked to catch.
const FILTERS: [wgpu::ErrorFilter; 3] =
    [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::Internal];

impl Faults {
    /// Takes over the callbacks of a device of our own.
    pub(super) fn callbacks(device: &wgpu::Device, name: &str) -> Self {
        let (fault, lost) = (Slot::default(), Slot::default());
        let (slot, name) = (Slot::clone(&fault), name.to_owned());
        device.on_uncaptured_error(Arc::new(move |error| {
            slot.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(describe(&name, &error));
        }));
        let slot = Slot::clone(&lost);
        device.set_device_lost_callback(move |reason, message| {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{reason:?}: {message}"));
        });
        Self::Callbacks { fault, lost }
    }

    /// Leaves the callbacks of a caller's device alone.
    pub(super) fn scopes(device: &wgpu::Device) -> Self {
        let probe = Scopes::around(device, || {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("bitsmith probe"),
                size: 4,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        });
        Self::Scopes { probe: Mutex::new(probe.0) }
    }

    /// Runs `call`, which uses the device. The error is the device's loss, else what wgpu reported, else the call's own.
    pub(super) fn watch<T>(&self, device: &wgpu::Device, name: &str, call: impl FnOnce() -> Result<T>) -> Result<T> {
        let (result, fault) = match self {
            Self::Callbacks { fault, .. } => {
                let result = call();
                // wgpu tells of a loss only while it is polled, and ignores calls in silence until then. Does not wait;
                // a poll that fails comes with a loss, found below.
                #[cfg(not(target_arch = "wasm32"))]
                let _ = device.poll(wgpu::PollType::Poll);
                (result, fault.lock().unwrap_or_else(PoisonError::into_inner).take())
            }
            Self::Scopes { .. } => {
                let (result, fault) = Scopes::around(device, call);
                (result, fault.map(|error| describe(name, &error)))
            }
        };
        // A loss first: the faults that come with it only say that things are invalid.
        if let Some(why) = self.lost(device) {
            return Err(Error::Device { device: name.to_owned(), detail: format!("device lost: {why}") });
        }
        match fault {
            Some(fault) => Err(fault),
            None => result,
        }
    }

    /// Why the device is gone, if it is.
    pub(super) fn lost(&self, device: &wgpu::Device) -> Option<String> {
        match self {
            Self::Callbacks { lost, .. } => lost.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            Self::Scopes { probe } => {
                let probe = probe.lock().unwrap_or_else(PoisonError::into_inner);
                let refused = Arc::new(AtomicBool::new(false));
                let heard = refused.clone();
                let (lost, _) = Scopes::around(device, || {
                    // A lost device refuses at once; any other keeps the request until it is polled.
                    probe.map_async(wgpu::MapMode::Read, .., move |result| heard.store(result.is_err(), Relaxed));
                    let lost = refused.load(Relaxed);
                    probe.unmap();
                    lost
                });
                lost.then(|| "its own callback knows why".to_owned())
            }
        }
    }
}

/// Error scopes of every kind on this thread.
struct Scopes;

impl Scopes {
    /// What `call` returns, and the first error that wgpu reported meanwhile. In a browser, where scopes answer later, none
    /// are set: errors there reach the caller's callback.
    fn around<T>(device: &wgpu::Device, call: impl FnOnce() -> T) -> (T, Option<wgpu::Error>) {
        if cfg!(target_arch = "wasm32") {
            return (call(), None);
        }
        let guards = FILTERS.map(|filter| device.push_error_scope(filter));
        let result = call();
        // Innermost first, all of them.
        let [memory, validation, internal] = guards;
        let caught = [at_once(internal.pop()), at_once(validation.pop()), at_once(memory.pop())];
        (result, caught.into_iter().rev().flatten().next())
    }
}

/// What a future gives that is ready natively.
fn at_once<T>(future: impl Future<Output = Option<T>>) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => None,
    }
}

fn describe(name: &str, error: &wgpu::Error) -> Error {
    let detail = match error {
        wgpu::Error::OutOfMemory { .. } => "out of memory; lower --window or take a smaller model".to_owned(),
        other => other.to_string(),
    };
    Error::Device { device: name.to_owned(), detail }
}
