//! Images with labels on the command line.

use std::path::PathBuf;

/// The samples of a classifier.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Images")]
pub(super) struct ImageArgs {
    /// Images of a classifier: an idx file as MNIST has it, packed by gzip or not
    #[arg(long, value_name = "FILE", requires = "labels", conflicts_with = "text")]
    images: Option<PathBuf>,
    /// Their classes: an idx file
    #[arg(long, value_name = "FILE", requires = "images")]
    labels: Option<PathBuf>,
}

impl ImageArgs {
    /// Both files, if they were given.
    pub(super) fn files(&self) -> Option<[PathBuf; 2]> {
        Some([self.images.clone()?, self.labels.clone()?])
    }
}
