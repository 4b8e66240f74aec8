//! GGUF: one file with a header of settings and all tensors.

use std::io::Read as _;
use std::path::Path;

/// The file name under which a folder's weights are found.
pub const GGUF_FILE: &str = "model.gguf";
/// What a file begins with.
const MAGIC: &[u8; 4] = b"GGUF";

/// Whether a path is a GGUF file, by its first bytes.
pub fn is_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && &magic == MAGIC
}
