//! What is checked of a parquet file's schema before the parquet crate reads it: that crate makes room for as many
//! children as a group claims to have, and descends as deep as groups are nested.

/// Deeper than the rows of any dataset of texts.
const MAX_DEPTH: usize = 32;
/// How deep other parts of the footer are nested at most.
const MAX_SKIPPED: usize = 16;

/// Numbers of a field of `FileMetaData` and of `SchemaElement` in the format's definition.
const SCHEMA: i16 = 2;
const NUM_CHILDREN: i16 = 5;

/// Types of Thrift's compact protocol.
const TRUE: u8 = 1;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// Whether the schema in a footer is a tree that is not deep; otherwise what is wrong with it.
pub(super) fn check(footer: &[u8]) -> Result<(), &'static str> {
    const CUT: &str = "its footer is cut off or damaged";
    let mut thrift = Thrift { rest: footer };
    let mut id = 0;
    while let Some(kind) = thrift.field(&mut id).ok_or(CUT)? {
        if id == SCHEMA && kind == LIST {
            let (length, kind) = thrift.list().ok_or(CUT)?;
            if kind != STRUCT {
                return Err(CUT);
            }
            return tree((0..length).map(|_| thrift.children()));
        }
        thrift.skip(kind, MAX_SKIPPED).ok_or(CUT)?;
    }
    Err("its footer has no schema")
}

/// Given the number of children of each element, parents before their children.
fn tree(elements: impl Iterator<Item = Option<u64>>) -> Result<(), &'static str> {
    // Children to come, for each open group. The root is the child of nothing.
    let mut open = vec![1];
    for children in elements {
        let children = children.ok_or("its schema is cut off or damaged")?;
        while open.last() == Some(&0) {
            open.pop();
        }
        *open.last_mut().ok_or("its schema has elements that belong to no group")? -= 1;
        if children > 0 {
            open.push(children);
        }
        if open.len() > MAX_DEPTH {
            return Err("its schema is nested too deep");
        }
    }
    if open.iter().all(|left| *left == 0) { Ok(()) } else { Err("its schema names more elements than it has") }
}

/// Thrift's compact protocol; none at the end of the bytes and for what makes no sense.
struct Thrift<'b> {
    rest: &'b [u8],
}

impl Thrift<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn drop(&mut self, bytes: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn integer(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// The type of the next field, whose number follows from that of the one before; none at the end of a struct.
    #[allow(clippy::option_option, reason = "the end of a struct is no damage")]
    fn field(&mut self, id: &mut i16) -> Option<Option<u8>> {
        let head = self.byte()?;
        if head == 0 {
            return Some(None);
        }
        *id = match head >> 4 {
            0 => i16::try_from(self.integer()?).ok()?,
            step => id.checked_add(step.into())?,
        };
        Some(Some(head & 15))
    }

    /// Length and type of a list.
    fn list(&mut self) -> Option<(u64, u8)> {
        let head = self.byte()?;
        let length = if head >> 4 == 15 { self.varint()? } else { (head >> 4).into() };
        Some((length, head & 15))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            // The value of a truth is its type.
            TRUE | 2 => Some(()),
            3 => self.drop(1),
            4..=6 => self.varint().map(drop),
            7 => self.drop(8),
            BINARY => self.varint().and_then(|length| self.drop(length)),
            LIST | 10 => {
                let (length, kind) = self.list()?;
                // In a list a truth is a byte.
                (0..length).try_for_each(|_| if kind <= 2 { self.drop(1) } else { self.skip(kind, depth) })
            }
            STRUCT => {
                let mut id = 0;
                while let Some(kind) = self.field(&mut id)? {
                    self.skip(kind, depth)?;
                }
                Some(())
            }
            _ => None,
        }
    }

    /// Children of the next element of a schema.
    fn children(&mut self) -> Option<u64> {
        let (mut id, mut children) = (0, 0);
        while let Some(kind) = self.field(&mut id)? {
            if id == NUM_CHILDREN && matches!(kind, 4..=6) {
                children = u64::try_from(self.integer()?).ok()?;
            } else {
                self.skip(kind, MAX_SKIPPED)?;
            }
        }
        Some(children)
    }
}

/// Bytes of the page whose header begins like this, once unpacked: after the type of the page, its first two numbers.
pub(super) fn unpacked_size(header: &[u8]) -> Option<u64> {
    let mut thrift = Thrift { rest: header };
    let mut id = 0;
    while let Some(kind) = thrift.field(&mut id)? {
        match (id, kind) {
            (2, 4..=6) => return u64::try_from(thrift.integer()?).ok(),
            _ => thrift.skip(kind, 1)?,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A footer with a version and a schema of elements that have only these numbers of children.
    fn footer(children: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x15, 2, 0x19, 0xf0 | STRUCT, u8::try_from(children.len()).expect("few")];
        for n in children {
            bytes.extend([0x55, 2 * n, 0]);
        }
        bytes.push(0);
        bytes
    }

    #[test]
    fn a_schema_is_a_tree() {
        for good in [&[2, 0, 0][..], &[2, 1, 0, 0], &[1, 1, 1, 0]] {
            assert_eq!(check(&footer(good)), Ok(()), "{good:?}");
        }
        for (bad, word) in [
            (vec![63, 0, 0], "more elements"),
            (vec![1, 0, 0], "no group"),
            (vec![1; 60], "deep"),
            (vec![1, 1], "more elements"),
        ] {
            let found = check(&footer(&bad));
            assert!(found.is_err_and(|why| why.contains(word)), "{bad:?}: {found:?}");
        }
        let whole = footer(&[2, 0, 0]);
        for cut in 0..whole.len() - 1 {
            assert!(check(&whole[..cut]).is_err(), "cut to {cut}");
        }
        assert_eq!(check(&[0]), Err("its footer has no schema"));
    }

    #[test]
    fn a_page_tells_its_size() {
        assert_eq!(unpacked_size(&[0x15, 0, 0x15, 0x80, 0x02, 0x15, 4]), Some(128));
        assert_eq!(unpacked_size(&[0x15, 0, 0x15, 0x01]), None, "-1");
        assert_eq!(unpacked_size(&[]), None);
    }
}
