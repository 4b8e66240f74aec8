//! A limit on the instruction sets in use, so that tests and measurements reach those that a processor has better ones than.

use std::sync::OnceLock;

/// Instruction sets, the widest last.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub enum Level {
    Portable,
    Avx2,
    Avx512,
    /// AVX-512 with products of bytes.
    Bytes,
}

impl Level {
    /// Whether the environment variable `BITSMITH_SIMD`, one of `portable`, `avx2`, `avx512`, lets this one be used. It is
    /// read once; whatever else it holds is no limit.
    pub fn allows(self) -> bool {
        static LIMIT: OnceLock<Level> = OnceLock::new();
        let limit = || match std::env::var("BITSMITH_SIMD").as_deref() {
            Ok("portable") => Self::Portable,
            Ok("avx2") => Self::Avx2,
            Ok("avx512") => Self::Avx512,
            _ => Self::Bytes,
        };
        self <= *LIMIT.get_or_init(limit)
    }
}
