//! Every way an operation of this crate can fail, by cause.

use std::path::{Path, PathBuf};

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, with the value that was at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Operands of one operation do not fit together.
    #[error("{op}: expected {expected}, found {found}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// What it needs.
        expected: String,
        /// What it was given.
        found: String,
    },
    /// A request that is valid in itself but cannot be served.
    #[error("{what} is not supported: {remedy}")]
    Unsupported {
        /// The request.
        what: String,
        /// What to do instead.
        remedy: String,
    },
    /// A quantity is over a limit of the device or of the caller.
    #[error("{what}: {wanted} bytes wanted, {allowed} allowed")]
    Limit {
        /// What is limited.
        what: String,
        /// Bytes asked for.
        wanted: u64,
        /// Bytes available.
        allowed: u64,
    },
    /// A file does not hold what its format demands.
    #[error("{}: {detail}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The field and what is wrong with it.
        detail: String,
    },
    /// A device failed, was lost or computes wrongly.
    #[error("device {device}: {detail}")]
    Device {
        /// Name and driver.
        device: String,
        /// What happened.
        detail: String,
    },
    /// The operating system refused a file operation.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A setting has a value that cannot be used.
    #[error("{field}: {detail}")]
    Config {
        /// Name of the setting.
        field: String,
        /// The offending value and the remedy.
        detail: String,
    },
    /// The hub does not give what was asked for, or cannot be reached.
    #[error("{id}: {detail}")]
    Hub {
        /// What was asked for, as `org/name`.
        id: String,
        /// What happened.
        detail: String,
        /// What to do about it.
        remedy: String,
    },
    /// Somebody asked for the work to stop.
    #[error("stopped on request")]
    Cancelled,
    /// Long work ended early, and what it had finished is saved: asked to resume, it goes on from there.
    #[error("{cause}; {finished} of {total} parts are saved in {}, and --resume goes on with them", folder.display())]
    Unfinished {
        /// What ended it.
        cause: Box<Error>,
        /// What is counted: `tensors` of the model, or `steps` of a training.
        unit: &'static str,
        /// How many of them are done.
        finished: usize,
        /// How many there are.
        total: usize,
        /// Where they are.
        folder: PathBuf,
    },
    /// A tensor holds a NaN or an infinity.
    #[error("{tensor}: element [{row}, {col}] is {value}; finite values are needed")]
    NotFinite {
        /// Name of the tensor.
        tensor: String,
        /// Row of the element.
        row: usize,
        /// Column of the element.
        col: usize,
        /// The value found.
        value: f32,
    },
}

impl Error {
    /// A malformed file.
    pub fn format(path: impl AsRef<Path>, detail: impl Into<String>) -> Self {
        Self::Format { path: path.as_ref().to_path_buf(), detail: detail.into() }
    }

    /// An unusable setting.
    pub fn config(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Config { field: field.into(), detail: detail.into() }
    }

    /// A refused file operation.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), source }
    }
}
