//! `bitsmith bench MODEL [MODEL]`.

use bitsmith::bench::{Comparison, Lengths};
use bitsmith::io::ModelConfig;
use bitsmith::{DeviceRequest, Error, Result, eval, report};

use super::alone::Alone;
use super::{Bench, Devices};
use crate::cli::model::ModelArg;
use crate::cli::stdout;

impl Bench {
    /// Measures the models one after the other, each in a process of its own.
    pub(super) fn models(&self, models: &[ModelArg]) -> Result<()> {
        self.model_device()?;
        let find = |model: &ModelArg| Ok(model.find(&self.hub, self.quiet)?.path);
        let folders = models.iter().map(find).collect::<Result<Vec<_>>>()?;
        let request = self.text.as_ref().map(|text| self.cut.request(text, &self.hub, self.quiet)).transpose()?;
        let mut contexts = Vec::with_capacity(folders.len());
        for folder in &folders {
            contexts.push(ModelConfig::read(folder)?.0.context());
            if let Some(request) = &request {
                eval::check(folder, request)?;
            }
        }
        let lengths = Lengths::fit(self.prompt_tokens, self.decode_tokens, &contexts)?;
        let measure = |folder: &std::path::PathBuf| Alone { folder: folder.clone(), lengths }.start();
        let results = Comparison::new(folders.iter().map(measure).collect::<Result<_>>()?);
        self.write(&results)?;
        if self.output.json {
            return stdout::json(&results);
        }
        stdout::text(&report::model_bench(&results, self.kernels))
    }

    /// The one device that models are measured on.
    pub(super) fn model_device(&self) -> Result<DeviceRequest> {
        match self.device {
            None => Ok(DeviceRequest::Auto),
            Some(Devices::One(request)) => Ok(request),
            Some(Devices::All) => Err(Error::config("device", "models are measured on one device; name it")),
        }
    }
}
