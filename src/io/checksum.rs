//! A fast checksum against damage on disk. It is no protection against somebody who means to deceive.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Odd, so that multiplying by it loses nothing.
const PRIME: u64 = 0x9E37_79B1_85EB_CA87;
const LANES: usize = 4;
const BLOCK: usize = 8 * LANES;

/// 64 bits that follow from bytes given in pieces of any size. Each step can be undone, so bytes that differ within
/// one aligned word of eight always give another checksum; other damage is missed once in 2^64.
#[derive(Clone, Debug)]
pub struct Checksum {
    lanes: [u64; LANES],
    /// Bytes that do not fill a block yet.
    rest: [u8; BLOCK],
    length: u64,
}

impl Default for Checksum {
    /// Of no bytes.
    fn default() -> Self {
        Self { lanes: [1, 2, 3, 4].map(|seed: u64| seed.wrapping_mul(PRIME)), rest: [0; BLOCK], length: 0 }
    }
}

impl Checksum {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut checksum = Self::default();
        checksum.update(bytes);
        checksum.finish()
    }

    /// Adds bytes.
    #[allow(clippy::cast_possible_truncation, reason = "the remainder is below the block's size")]
    pub fn update(&mut self, mut bytes: &[u8]) {
        let held = (self.length % BLOCK as u64) as usize;
        self.length += bytes.len() as u64;
        if held > 0 {
            let taken = bytes.len().min(BLOCK - held);
            self.rest[held..held + taken].copy_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if held + taken < BLOCK {
                return;
            }
            let block = self.rest;
            self.block(&block);
        }
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        blocks.iter().for_each(|block| self.block(block));
        self.rest[..rest.len()].copy_from_slice(rest);
    }

    fn block(&mut self, block: &[u8; BLOCK]) {
        for (lane, word) in self.lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            *lane = (*lane ^ u64::from_le_bytes(*word)).wrapping_mul(PRIME).rotate_left(29);
        }
    }

    /// The checksum of all bytes.
    #[allow(clippy::cast_possible_truncation, reason = "the remainder is below the block's size")]
    pub fn finish(mut self) -> Digest {
        let held = (self.length % BLOCK as u64) as usize;
        if held > 0 {
            self.rest[held..].fill(0);
            let block = self.rest;
            self.block(&block);
        }
        let mix = |sum: u64, lane: &u64| {
            let mixed = (sum ^ lane).wrapping_mul(PRIME);
            mixed ^ (mixed >> 32)
        };
        Digest(self.lanes.iter().fold(self.length, mix))
    }
}

/// Bytes of a file that are read at once.
const PIECE: usize = 1 << 20;

/// The checksum of a part of a file; none if the file ends before the part does.
///
/// # Errors
/// [`Error::Io`].
pub fn digest_of(path: &Path, part: Range<u64>) -> Result<Option<Digest>> {
    let fail = |e| Error::io(path, e);
    let mut file = File::open(path).map_err(fail)?;
    file.seek(SeekFrom::Start(part.start)).map_err(fail)?;
    let (mut checksum, mut left) = (Checksum::default(), part.end.saturating_sub(part.start));
    let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
    while left > 0 {
        let wanted = piece.len().min(usize::try_from(left).unwrap_or(PIECE));
        match file.read(&mut piece[..wanted]) {
            Ok(0) => return Ok(None),
            Ok(read) => {
                checksum.update(&piece[..read]);
                left -= read as u64;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(fail(e)),
        }
    }
    Ok(Some(checksum.finish()))
}

/// The value of a [`Checksum`]; 16 hexadecimal digits as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Digest {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        value.map(Self).ok_or("a checksum has 16 hexadecimal digits")
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_do_not_matter_and_every_bit_does() {
        let bytes: Vec<u8> = (0..200u32).map(|i| (i * 37 + 5) as u8).collect();
        let whole = Checksum::of(&bytes);
        for piece in [1, 7, 31, 32, 33, 64, 199] {
            let mut checksum = Checksum::default();
            bytes.chunks(piece).for_each(|chunk| checksum.update(chunk));
            assert_eq!(checksum.finish(), whole, "pieces of {piece}");
        }
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(Checksum::of(&flipped), whole, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_ne!(Checksum::of(&bytes[..length]), whole);
            assert_ne!(Checksum::of(&vec![0; length]), Checksum::of(&vec![0; length + 1]), "zeros count");
        }
        assert_eq!(whole.to_string().parse(), Ok(whole));
        assert!("12".parse::<Digest>().is_err() && "+123456789abcdef".parse::<Digest>().is_err());
    }
}
