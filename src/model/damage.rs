//! Why a model gives something that is no number.

use std::path::Path;

use super::{Model, StreamedModel};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::io::Checkpoint;

impl Model {
    /// The error for `what` being no number: it names the first weight in the model's files that is none, where there is
    /// one. Loading a model looks at no value; what is wrong is looked for when it shows.
    pub(crate) fn no_number(&self, what: &str) -> Error {
        no_number(self.folder(), self.device(), what)
    }
}

impl StreamedModel {
    /// As that of a whole model.
    pub(crate) fn no_number(&self, what: &str) -> Error {
        no_number(&self.folder, self.device(), what)
    }
}

fn no_number(folder: &Path, device: &Device, what: &str) -> Error {
    first_not_finite(&Checkpoint::open(folder)).unwrap_or_else(|| {
        let detail = format!("the model gives {what} that is no number, though its weights are all finite");
        Error::Device { device: device.caps().name.clone(), detail }
    })
}

fn first_not_finite(checkpoint: &Result<Checkpoint>) -> Option<Error> {
    let checkpoint = checkpoint.as_ref().ok()?;
    checkpoint.infos().filter(|info| info.dtype.dtype().is_some()).find_map(|info| {
        let found = checkpoint.tensor(&info.name).ok()?.first_not_finite();
        checkpoint.release(&info.name);
        let (row, col, value) = found?;
        Some(Error::NotFinite { tensor: info.name.clone(), row, col, value })
    })
}
