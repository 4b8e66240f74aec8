//! From documents to tokens.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Documents;
use crate::error::Result;
use crate::io::{TokenStream, Tokenizer};

/// Bytes of documents that are encoded at once, by all cores.
const BATCH_BYTES: usize = 1 << 20;

/// Which text tokens come from. Figures compare only where these are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextFacts {
    /// File or name on the hub.
    #[serde(rename = "text")]
    pub source: String,
    /// Documents that were read.
    #[serde(rename = "text_documents")]
    pub documents: usize,
    /// Tokens that they are.
    #[serde(rename = "text_tokens")]
    pub tokens: usize,
    /// Of the text that was read: see [`Documents::sha256`].
    #[serde(rename = "text_sha256")]
    pub sha256: String,
}

impl TokenStream {
    /// Encodes each document by itself, with the beginning token if the tokenizer adds one, and joins the ids. Reading
    /// ends with the documents, or soon after `enough` tokens; what was read is the same wherever it runs.
    ///
    /// # Errors
    /// Those of the documents and of [`Tokenizer::encode`].
    pub fn read(documents: Documents, tokenizer: &Tokenizer, enough: usize) -> Result<(Self, TextFacts)> {
        let mut documents = documents;
        let (mut ids, mut count) = (Vec::new(), 0);
        while ids.len() < enough {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while bytes < BATCH_BYTES {
                let Some(document) = documents.next().transpose()? else { break };
                bytes += document.len();
                batch.push(document);
            }
            if batch.is_empty() {
                break;
            }
            count += batch.len();
            let encoded: Vec<Vec<u32>> =
                batch.par_iter().map(|document| tokenizer.encode(document, true)).collect::<Result<_>>()?;
            encoded.iter().for_each(|encoded| ids.extend_from_slice(encoded));
        }
        let (source, sha256) = (documents.name().to_owned(), documents.sha256());
        let facts = TextFacts { source, documents: count, tokens: ids.len(), sha256 };
        Ok((Self { ids }, facts))
    }
}
