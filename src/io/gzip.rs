//! Files packed by gzip: enough of it to read data sets that come that way.

use std::path::Path;

use crate::error::{Error, Result};

/// What a gzip file begins with: its mark, and the only method there is.
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

/// Whether a file is packed by gzip.
pub fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// The content of a gzip file of one member, at most `limit` bytes. `path` serves the messages.
///
/// # Errors
/// [`Error::Format`] for a damaged file, [`Error::Limit`] for a content that is too large.
pub fn gunzip(path: &Path, bytes: &[u8], limit: usize) -> Result<Vec<u8>> {
    let damaged = |what: &str| Error::format(path, format!("is damaged: {what}; fetch it again"));
    let start = header(bytes).ok_or_else(|| damaged("its gzip header is cut"))?;
    let mut inflate = Inflate { bits: Bits { bytes: &bytes[start..], at: 0 }, out: Vec::new(), limit };
    match inflate.run() {
        Ok(()) => {}
        Err(Stop::Damage(what)) => return Err(damaged(what)),
        Err(Stop::TooLarge) => {
            let what = format!("{} unpacked", path.display());
            return Err(Error::Limit { what, wanted: limit as u64 + 1, allowed: limit as u64 });
        }
    }
    let end = start + inflate.bits.at.div_ceil(8);
    let trailer = bytes.get(end..end + 8).ok_or_else(|| damaged("its end is missing"))?;
    let out = inflate.out;
    #[allow(clippy::cast_possible_truncation, reason = "the format stores the length modulo 2^32")]
    let expected = [crc32(&out).to_le_bytes(), (out.len() as u32).to_le_bytes()].concat();
    if trailer != expected { Err(damaged("its checksum or length is another")) } else { Ok(out) }
}

/// Bytes of the header.
fn header(bytes: &[u8]) -> Option<usize> {
    let flags = *bytes.get(3)?;
    let mut at = 10;
    if flags & 4 != 0 {
        let [low, high] = *bytes.get(at..at + 2)?.as_array()?;
        at += 2 + usize::from(u16::from_le_bytes([low, high]));
    }
    // A name and a comment, each ended by a zero.
    for flag in [8, 16] {
        if flags & flag != 0 {
            at += bytes.get(at..)?.iter().position(|byte| *byte == 0)? + 1;
        }
    }
    at += if flags & 2 != 0 { 2 } else { 0 };
    (at <= bytes.len()).then_some(at)
}

/// Bit by bit: data sets are small, and read once.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// A step of unpacking.
type Unpacked<T> = std::result::Result<T, Stop>;

/// Why unpacking ends early.
enum Stop {
    Damage(&'static str),
    TooLarge,
}

/// The bits end before the data do.
const CUT: Stop = Stop::Damage("it ends too early");

/// Bits from the lowest of each byte on.
struct Bits<'a> {
    bytes: &'a [u8],
    /// Bits taken.
    at: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> Unpacked<u16> {
        let byte = self.bytes.get(self.at / 8).ok_or(CUT)?;
        let bit = byte >> (self.at % 8) & 1;
        self.at += 1;
        Ok(bit.into())
    }

    /// A number of up to 15 bits, the lowest first.
    fn number(&mut self, bits: u8) -> Unpacked<usize> {
        (0..bits).try_fold(0, |number, i| Ok(number | usize::from(self.bit()?) << i))
    }
}

/// The longest code of a symbol.
const LONGEST: usize = 15;

/// A canonical Huffman code: how many symbols have each length, and the symbols in the order of their codes.
struct Huffman {
    counts: [u16; LONGEST + 1],
    symbols: Vec<u16>,
}

impl Huffman {
    /// From the length of each symbol's code, 0 for one that does not occur.
    #[allow(clippy::cast_possible_truncation, reason = "symbols are at most 288")]
    fn new(lengths: &[u8]) -> Unpacked<Self> {
        let mut counts = [0u16; LONGEST + 1];
        lengths.iter().for_each(|length| counts[usize::from(*length)] += 1);
        counts[0] = 0;
        let mut free = 1i32;
        for count in &counts[1..] {
            free = 2 * free - i32::from(*count);
            if free < 0 {
                return Err(Stop::Damage("a table has more codes than there can be"));
            }
        }
        let mut symbols: Vec<u16> = (0..lengths.len() as u16).filter(|s| lengths[usize::from(*s)] > 0).collect();
        symbols.sort_by_key(|symbol| lengths[usize::from(*symbol)]);
        Ok(Self { counts, symbols })
    }

    fn symbol(&self, bits: &mut Bits<'_>) -> Unpacked<u16> {
        let (mut code, mut first, mut index) = (0u32, 0u32, 0u32);
        for count in self.counts[1..].iter().map(|count| u32::from(*count)) {
            code |= u32::from(bits.bit()?);
            if code < first + count {
                return self.symbols.get((index + code - first) as usize).copied().ok_or(CUT);
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        Err(Stop::Damage("a code has no symbol"))
    }
}

/// The deflate format.
struct Inflate<'a> {
    bits: Bits<'a>,
    out: Vec<u8>,
    limit: usize,
}

/// The smallest length of each symbol from 257 on, and how many bits tell what is added.
const LENGTHS: [(u16, u8); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

impl Inflate<'_> {
    fn run(&mut self) -> Unpacked<()> {
        loop {
            let last = self.bits.bit()? == 1;
            match self.bits.number(2)? {
                0 => self.stored()?,
                1 => {
                    let lengths: Vec<u8> = (0..288)
                        .map(|s| match s {
                            0..144 => 8,
                            144..256 => 9,
                            256..280 => 7,
                            _ => 8,
                        })
                        .collect();
                    self.block(&Huffman::new(&lengths)?, &Huffman::new(&[5; 30])?)?;
                }
                2 => {
                    let (literals, distances) = self.tables()?;
                    self.block(&literals, &distances)?;
                }
                _ => return Err(Stop::Damage("a block of no known kind")),
            }
            if last {
                return Ok(());
            }
        }
    }

    fn stored(&mut self) -> Unpacked<()> {
        let at = self.bits.at.div_ceil(8);
        let header = self.bits.bytes.get(at..at + 4).ok_or(CUT)?;
        let (length, check) = (u16::from_le_bytes([header[0], header[1]]), u16::from_le_bytes([header[2], header[3]]));
        if length != !check {
            return Err(Stop::Damage("the length of a block is wrong"));
        }
        let end = at + 4 + usize::from(length);
        let bytes = self.bits.bytes.get(at + 4..end).ok_or(CUT)?;
        if self.out.len() + bytes.len() > self.limit {
            return Err(Stop::TooLarge);
        }
        self.out.extend_from_slice(bytes);
        self.bits.at = 8 * end;
        Ok(())
    }

    /// The codes of literals and distances that a block brings along.
    fn tables(&mut self) -> Unpacked<(Huffman, Huffman)> {
        /// The order in which lengths of code lengths are stored.
        const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let (literals, distances) = (self.bits.number(5)? + 257, self.bits.number(5)? + 1);
        let count = self.bits.number(4)? + 4;
        let mut lengths = [0u8; 19];
        for place in &ORDER[..count] {
            #[allow(clippy::cast_possible_truncation, reason = "three bits")]
            let length = self.bits.number(3)? as u8;
            lengths[*place] = length;
        }
        let code = Huffman::new(&lengths)?;
        let mut lengths: Vec<u8> = Vec::with_capacity(literals + distances);
        while lengths.len() < literals + distances {
            let symbol = code.symbol(&mut self.bits)?;
            let (value, times) = match symbol {
                16 => (*lengths.last().ok_or(Stop::Damage("nothing to repeat"))?, 3 + self.bits.number(2)?),
                17 => (0, 3 + self.bits.number(3)?),
                18 => (0, 11 + self.bits.number(7)?),
                #[allow(clippy::cast_possible_truncation, reason = "below 16")]
                length => (length as u8, 1),
            };
            lengths.resize(lengths.len() + times, value);
        }
        if lengths.len() > literals + distances {
            return Err(Stop::Damage("a table is too long"));
        }
        Ok((Huffman::new(&lengths[..literals])?, Huffman::new(&lengths[literals..])?))
    }

    #[allow(clippy::cast_possible_truncation, reason = "literals are below 256")]
    fn block(&mut self, literals: &Huffman, distances: &Huffman) -> Unpacked<()> {
        /// What ends a block.
        const END: u16 = 256;
        loop {
            let symbol = literals.symbol(&mut self.bits)?;
            let length = match symbol {
                0..END => {
                    self.grow(1)?;
                    self.out.push(symbol as u8);
                    continue;
                }
                END => return Ok(()),
                _ => {
                    let (least, bits) = LENGTHS.get(usize::from(symbol - 257)).ok_or(Stop::Damage("no such length"))?;
                    usize::from(*least) + self.bits.number(*bits)?
                }
            };
            let symbol = distances.symbol(&mut self.bits)?;
            if symbol >= 30 {
                return Err(Stop::Damage("no such distance"));
            }
            let bits = (symbol / 2).saturating_sub(1) as u8;
            let least = if symbol < 4 { usize::from(symbol) } else { usize::from(2 + symbol % 2) << bits };
            let distance = 1 + least + self.bits.number(bits)?;
            let from = self.out.len().checked_sub(distance).ok_or(Stop::Damage("a distance beyond the beginning"))?;
            self.grow(length)?;
            // What is copied may be what was just written.
            (from..from + length).for_each(|at| self.out.push(self.out[at]));
        }
    }

    fn grow(&mut self, by: usize) -> Unpacked<()> {
        if self.out.len() + by > self.limit { Err(Stop::TooLarge) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By Python's gzip: a stored block, fixed codes with a name, codes of their own.
    const STORED: &str = "1f8b08000000000000ff010f00f0ff73746f7265642061732069742069736578d15a0f000000";
    const FIXED: &str = "1f8b08080000000000ff6e616d65004b4c4a4e444200a38c27d30f000000";
    const DYNAMIC: &str = concat!(
        "1f8b08000000000000ffd5d10d8ea320004061abd1c19f6a11544a701491c958b18d68b115ef7faeed267b897d37f8f21cc7",
        "39b99eff15c629c484b5fd705fde2e480b26c6c50619e1e3d34daa6e7a03dc4e7b447e561f0bed17f219d2d1c97b93343aac",
        "6750eba835993cca09b42fa400b744673720dceffd6aca056b34238dd76aa3b6f164a4e04a9d3e7e9456c433f506b4f7d9d6",
        "9d4d97be647edc48a0f9e5502cd947763eee2d0acc50437f53bc4cdca712148627f3f8e514a7c0b3669e06d935ec5a152887",
        "97ecd305e6a8a8aeace9e430cdc67a20c594ff3ecc298454a88fa9e46af3613d9800b5f7e3ccc63d61eab8701d90db91cb57",
        "da9973b765fd8e068fceb1b0e523ee1dba421549afb174abd67fa8a534d7fddb15e09669623950e8d582a93c6466da48d760",
        "ae43dd24a6cf9d91864f59f85a607ffd21d13eb518bca7aefa98464eb2c02ea360450adcf7721ffa96110cd338fcf23df7e4",
        "fcedff59f507a8bcaf0858020000",
    );

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digit).collect()
    }

    fn text() -> Vec<u8> {
        (0..600u32).map(|i| (i * i / 7 % 61) as u8).collect()
    }

    fn unpack(hex: &str, limit: usize) -> Result<Vec<u8>> {
        gunzip("data.gz".as_ref(), &bytes(hex), limit)
    }

    #[test]
    fn every_kind_of_block() {
        assert_eq!(unpack(STORED, 100).unwrap(), b"stored as it is");
        assert_eq!(unpack(FIXED, 100).unwrap(), b"abcabcabcabcabc");
        assert_eq!(unpack(DYNAMIC, 600).unwrap(), text());
        assert!(is_gzip(&bytes(FIXED)) && !is_gzip(b"\0\0\x08\x03"));
    }

    #[test]
    fn damage_is_an_error() {
        assert!(matches!(unpack(DYNAMIC, 599), Err(Error::Limit { .. })));
        for hex in [STORED, FIXED, DYNAMIC] {
            let whole = bytes(hex);
            for end in 0..whole.len() {
                assert!(gunzip("data.gz".as_ref(), &whole[..end], 600).is_err(), "{end} bytes");
            }
            // A bit of the time stamp, of the operating system and of a name may be any; the rest is checked.
            for at in 10 + 5..whole.len() {
                let mut wrong = whole.clone();
                wrong[at] ^= 16;
                let found = gunzip("data.gz".as_ref(), &wrong, 600);
                assert!(found.is_err() || found.unwrap() == gunzip("data.gz".as_ref(), &whole, 600).unwrap(), "{at}");
            }
        }
    }
}
