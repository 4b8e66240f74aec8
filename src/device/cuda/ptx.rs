//! What a PTX file says of its entries: how large their parameters are, and how many threads a block has.

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Bytes of each parameter.
    pub params: Vec<usize>,
    /// Most threads of a block (`__launch_bounds__`), if it says so.
    pub threads: Option<u32>,
}

/// The entries of a PTX file, in order.
///
/// ```
/// use bitsmith::device::cuda::entries;
/// let ptx = ".visible .entry double(.param .u64 a, .param .align 4 .b8 b[12])\n.maxntid 256, 1, 1\n{ ret; }";
/// let found = &entries(ptx)[0];
/// assert_eq!((found.name.as_str(), &found.params[..], found.threads), ("double", &[8, 12][..], Some(256)));
/// ```
pub fn entries(ptx: &str) -> Vec<Entry> {
    ptx.split(".entry").skip(1).filter_map(entry).collect()
}

/// `NAME ( PARAMETERS ) DIRECTIVES {`
fn entry(text: &str) -> Option<Entry> {
    let (name, rest) = text.split_once('(')?;
    let (params, rest) = rest.split_once(')')?;
    let (directives, _) = rest.split_once('{')?;
    let params = params.split(".param").skip(1).map(param).collect::<Option<_>>()?;
    let threads = directives.split_once(".maxntid").map(|(_, numbers)| product(numbers));
    Some(Entry { name: name.trim().to_owned(), params, threads: threads.flatten() })
}

/// Bytes of `.align 4 .b8 NAME[12]` or `.u64 NAME`.
fn param(text: &str) -> Option<usize> {
    let text = text.trim().trim_end_matches(',');
    let count = match text.split_once('[') {
        Some((_, count)) => count.split(']').next()?.trim().parse().ok()?,
        None => 1,
    };
    let widths = [(".b8", 1), (".u8", 1), (".b16", 2), (".u16", 2), (".b32", 4), (".u32", 4), (".s32", 4)];
    let widths = widths.iter().chain(&[(".f32", 4), (".b64", 8), (".u64", 8), (".s64", 8), (".f64", 8)]);
    let kind = text.split_whitespace().find_map(|word| widths.clone().find(|(name, _)| *name == word))?;
    Some(kind.1 * count)
}

/// Of `128, 1, 1` and what follows.
fn product(text: &str) -> Option<u32> {
    let numbers = text.split([',', '\n']).map_while(|number| number.trim().parse::<u32>().ok());
    let (mut count, mut product) = (0, 1u32);
    for number in numbers.take(3) {
        count += 1;
        product = product.checked_mul(number)?;
    }
    (count > 0).then_some(product)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_with_their_parameters() {
        let ptx = "
.version 8.0
.visible .entry first(
	.param .u64 first_param_0,
	.param .align 4 .b8 first_param_1[20],
	.param .align 4 .b8 first_param_2[48]
)
.maxntid 16, 8, 1
.minnctapersm 2
{
	ld.param.u64 %rd1, [first_param_0];
}
.visible .entry second(.param .u32 x)
{ ret; }
.visible .entry third()
{ ret; }
";
        let entry = |name: &str, params: &[usize], threads| Entry { name: name.into(), params: params.into(), threads };
        let expected =
            [entry("first", &[8, 20, 48], Some(128)), entry("second", &[4], None), entry("third", &[], None)];
        assert_eq!(entries(ptx), expected);
        assert_eq!(entries("no PTX, and .entry broken("), []);
    }
}
