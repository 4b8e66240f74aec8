//! Model folders, token streams and everything else that lies in files. Whatever comes from a file is checked
//! before it is trusted; what is wrong with it is said with the file, the field and the remedy.

mod checkpoint;
mod checksum;
mod config;
mod dataset;
mod destination;
mod file;
mod gguf;
mod gzip;
mod header;
mod idx;
mod index;
mod journal;
mod json;
mod layout;
mod map;
mod shards;
mod size;
mod source;
mod staging;
mod stored;
mod text;
mod tokenizer;
mod unsynced;
mod windows;
mod writer;
mod written;

pub use checkpoint::{Checkpoint, RawTensor};
pub use checksum::{Checksum, Digest, digest_of};
pub use config::{
    Architecture, CONFIG_FILE, Family, Gpt2Config, LlamaConfig, ModelConfig, OptConfig, RopeConfig, RopeScaling,
    WindowLayers, is_conv1d, read_config,
};
pub use dataset::{Documents, TextFacts, TextSource};
pub(crate) use file::{read_limited, replace};
pub(crate) use gguf::{
    ALIGNMENT as GGUF_ALIGNMENT, ALIGNMENT_KEY as GGUF_ALIGNMENT_KEY, GGUF_FILE, SPACE as GGUF_SPACE,
    TYPES as GGUF_TYPES, companions_of, is_gguf, sentence_piece_spaces, token_type,
};
pub use gguf::{GgufArchitecture, GgufHeader, GgufTensor, GgufTokenizer, PreTokenizer, gguf_of, rows as gguf_rows};
pub use header::{Header, TensorInfo};
pub use idx::Idx;
pub use index::Index;
pub(crate) use index::{INDEX_FILE, SINGLE_FILE};
pub use journal::{Journal, Recovered};
pub use layout::{FileLayout, Place};
pub(crate) use map::Map;
pub use shards::{CheckpointWriter, Shard, ShardPlan};
pub use size::ByteSize;
pub use source::{Source, SourceFile};
pub use staging::Staging;
pub(crate) use staging::sync_folder;
pub use stored::StoredDtype;
pub use text::{Text, TokenStream};
pub use tokenizer::{DecodeStream, TOKENIZER_FILE, Tokenizer};
pub use unsynced::Unsynced;
pub use windows::{Window, Windows};
pub use writer::{SafetensorsWriter, TensorSpec};
pub use written::Written;
