//! Where activations are held between two blocks: in memory up to a bound, beyond it in a temporary file.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{Error as SystemError, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::device::{Buffer, Device, DeviceKind};
use crate::error::{Error, Result};
use crate::io::{Checksum, Digest};
use crate::op::Activations;

/// A bound of memory, and the file for what is beyond it. The file has no name and goes away with the process.
///
/// What is in memory lies in buffers of the processor, or beside a GPU in the memory of the host, from where it is
/// uploaded for each use.
#[derive(Debug)]
pub(super) struct Store {
    device: Device,
    folder: PathBuf,
    bound: u64,
    held: Cell<u64>,
    spill: RefCell<Option<Spill>>,
}

/// The file: places that are free to be used again, and where it ends.
#[derive(Debug)]
struct Spill {
    file: File,
    free: Vec<(u64, usize)>,
    end: u64,
}

/// Values in a store; their place is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Stored {
    store: Rc<Store>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Buffer(Buffer),
    Host(Vec<f32>),
    File { start: u64, bytes: usize, checksum: Digest },
}

impl Store {
    /// At most `bound` bytes in memory, the rest in a file in `folder`.
    pub(super) fn new(device: &Device, folder: &Path, bound: u64) -> Self {
        let (held, spill) = (Cell::new(0), RefCell::new(None));
        Self { device: device.clone(), folder: folder.to_path_buf(), bound, held, spill }
    }

    /// Takes values in.
    ///
    /// # Errors
    /// Those of the device, and [`Error::Io`].
    pub(super) async fn take(self: &Rc<Self>, x: Activations) -> Result<Stored> {
        let bytes = x.rows * x.cols * size_of::<f32>();
        let fits = self.held.get() + bytes as u64 <= self.bound;
        let place = match (fits, self.device.caps().kind) {
            (true, DeviceKind::Cpu) => Place::Buffer(x.buffer),
            (true, _) => Place::Host(x.read(&self.device).await?),
            (false, _) => {
                let values = x.read(&self.device).await?;
                let content = bytemuck::cast_slice(&values);
                Place::File { start: self.write(content)?, bytes, checksum: Checksum::of(content) }
            }
        };
        if fits {
            self.held.set(self.held.get() + bytes as u64);
        }
        Ok(Stored { store: self.clone(), place })
    }

    fn fail(&self, error: SystemError) -> Error {
        Error::io(&self.folder, error)
    }

    /// Writes to a free place of the file; tells which.
    fn write(&self, content: &[u8]) -> Result<u64> {
        let mut spill = self.spill.borrow_mut();
        let spill = match &mut *spill {
            Some(spill) => spill,
            none => {
                let file = tempfile::tempfile_in(&self.folder).map_err(|e| self.fail(e))?;
                none.insert(Spill { file, free: Vec::new(), end: 0 })
            }
        };
        let start = match spill.free.iter().position(|(_, bytes)| *bytes == content.len()) {
            Some(index) => spill.free.swap_remove(index).0,
            None => {
                spill.end += content.len() as u64;
                spill.end - content.len() as u64
            }
        };
        let sought = spill.file.seek(SeekFrom::Start(start));
        sought.and_then(|_| spill.file.write_all(content)).map_err(|e| self.fail(e))?;
        Ok(start)
    }

    fn read(&self, start: u64, bytes: usize, checksum: Digest) -> Result<Vec<u8>> {
        let mut spill = self.spill.borrow_mut();
        let mut content = vec![0; bytes];
        if let Some(Spill { file, .. }) = &mut *spill {
            let sought = file.seek(SeekFrom::Start(start));
            sought.and_then(|_| file.read_exact(&mut content)).map_err(|e| self.fail(e))?;
        }
        if Checksum::of(&content) == checksum { Ok(content) } else { Err(self.fail(ErrorKind::InvalidData.into())) }
    }
}

impl Stored {
    /// The values, on the device.
    ///
    /// # Errors
    /// Those of the device; [`Error::Io`] if the file does not hold what was written, which is said to be `what`.
    pub(super) fn get(&self, what: impl FnOnce() -> String) -> Result<Buffer> {
        match &self.place {
            Place::Buffer(buffer) => Ok(buffer.clone()),
            Place::Host(values) => self.store.device.upload(values),
            Place::File { start, bytes, checksum } => match self.store.read(*start, *bytes, *checksum) {
                Ok(content) => self.store.device.upload(&content),
                Err(Error::Io { path, source }) if source.kind() == ErrorKind::InvalidData => {
                    let detail = format!(
                        "{} in the temporary file is not as it was written; check the disk, then repeat the command \
                         with --resume",
                        what()
                    );
                    Err(Error::io(path, SystemError::new(ErrorKind::InvalidData, detail)))
                }
                Err(error) => Err(error),
            },
        }
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        let in_memory = match &self.place {
            Place::Buffer(buffer) => buffer.bytes(),
            Place::Host(values) => size_of_val(&values[..]),
            Place::File { start, bytes, .. } => {
                if let Some(spill) = &mut *self.store.spill.borrow_mut() {
                    spill.free.push((*start, *bytes));
                }
                0
            }
        };
        self.store.held.set(self.store.held.get().saturating_sub(in_memory as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(device: &Device, first: f32) -> Activations {
        Activations::upload(device, 2, 3, &std::array::from_fn::<_, 6, _>(|i| first + i as f32)).expect("it fits")
    }

    fn read(device: &Device, stored: &Stored) -> Vec<f32> {
        let buffer = stored.get(|| "it".to_owned()).expect("it is whole");
        pollster::block_on(device.read(&buffer)).expect("it is there")
    }

    #[test]
    fn beyond_the_bound_is_the_file_and_places_are_used_again() {
        let (device, folder) = (Device::cpu(), tempfile::tempdir().expect("a folder"));
        let store = Rc::new(Store::new(&device, folder.path(), 30));
        let take = |first| pollster::block_on(store.take(values(&device, first))).expect("there is room");
        let all = [take(1.0), take(11.0), take(21.0)];
        assert_eq!(store.held.get(), 24);
        let end = || store.spill.borrow().as_ref().map_or(0, |spill| spill.end);
        assert_eq!(end(), 48);
        for (stored, first) in all.iter().zip([1.0, 11.0, 21.0]) {
            assert_eq!(read(&device, stored)[..2], [first, first + 1.0]);
        }
        drop(all);
        assert_eq!(store.held.get(), 0);
        let all: Vec<_> = (0..3).map(|i| take(i as f32)).collect();
        assert_eq!((end(), read(&device, &all[2])[0]), (48, 2.0));
        // Nothing has a name, so nothing can be left behind.
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn a_flipped_byte_is_found_and_named() {
        let (device, folder) = (Device::cpu(), tempfile::tempdir().expect("a folder"));
        let store = Rc::new(Store::new(&device, folder.path(), 0));
        let stored = pollster::block_on(store.take(values(&device, 1.0))).expect("there is room");
        assert_eq!(read(&device, &stored)[5], 6.0);
        if let Some(Spill { file, .. }) = &mut *store.spill.borrow_mut() {
            file.seek(SeekFrom::Start(5)).and_then(|_| file.write_all(&[7])).expect("it can be written");
        }
        let error = stored.get(|| "sequence 3".to_owned()).expect_err("it is damaged");
        assert!(matches!(error, Error::Io { .. }), "{error}");
        assert!(error.to_string().contains("sequence 3"), "{error}");
    }
}
