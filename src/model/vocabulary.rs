//! Both ends of a model: token embedding and output head.

use super::linear::Linear;
use super::loader::Loader;
use crate::device::Recorder;
use crate::error::Result;
use crate::io::ModelConfig;
use crate::op::{self, Activations, DenseWeight};

/// Path of the output head.
const HEAD: &str = "lm_head";

#[derive(Debug)]
pub(super) struct Vocabulary {
    embedding: DenseWeight,
    /// None where the embedding is the output head as well.
    head: Option<Linear>,
}

impl Vocabulary {
    /// Embedding `[vocab_size, width]` named `embedding`, and the head unless it is tied.
    pub(super) fn load(loader: &Loader, config: &ModelConfig, embedding: &str, width: usize) -> Result<Self> {
        let embedding = loader.matrix(embedding, config.vocab_size, width)?;
        let head = if config.tie_word_embeddings {
            None
        } else {
            Some(loader.linear(HEAD, config.vocab_size, width, false)?)
        };
        Ok(Self { embedding, head })
    }

    pub(super) fn embed(&self, rec: &mut Recorder, ids: &[u32]) -> Result<Activations> {
        op::embed(rec, ids, &self.embedding)
    }

    pub(super) fn logits(&self, rec: &mut Recorder, hidden: &Activations) -> Result<Activations> {
        match &self.head {
            Some(head) => head.forward(rec, hidden),
            None => op::dense(rec, hidden, &self.embedding),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.embedding.bytes() as u64 + self.head.as_ref().map_or(0, Linear::bytes)
    }
}
