//! Sequences to train on.

use super::sampler::shuffle;
use crate::error::{Error, Result};
use crate::io::{TokenStream, Windows};
use crate::random::Random;

/// `samples` sequences of `length` tokens each: the stream cut into neighbouring windows, of which the seed chooses.
///
/// # Errors
/// [`Error::Config`] if the stream holds fewer windows.
pub fn sequences(stream: &TokenStream, samples: usize, length: usize, seed: u32) -> Result<Vec<Vec<u32>>> {
    let ids = stream.ids();
    let mut windows: Vec<_> = Windows::new(ids.len(), length, length)?.collect();
    if windows.len() < samples {
        let detail = format!(
            "{samples}, but the text has only {} sequences of {length} tokens; take a longer text, fewer samples or a \
             smaller seq_len",
            windows.len()
        );
        return Err(Error::config("samples", detail));
    }
    shuffle(&mut Random::new(seed), &mut windows);
    Ok(windows[..samples].iter().map(|window| ids[window.tokens()].to_vec()).collect())
}
