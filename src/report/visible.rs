//! Text out of a file, made safe to look at.

/// The text with control characters as pictures: `␛` for escape, `�` for those that have none or that no document may
/// hold, and for those that turn the direction of writing. A name in a model file may hold anything, and a terminal would obey it.
///
/// ```
/// assert_eq!(bitsmith::report::visible("a\u{1b}[31m\n"), "a␛[31m␊");
/// ```
pub fn visible(text: &str) -> String {
    text.chars().map(picture).collect()
}

/// A character that shows itself.
pub(super) fn picture(c: char) -> char {
    match c {
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\u{7f}' => '\u{2421}',
        // Characters that reverse the direction of the text after them.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        c if c.is_control() || u32::from(c) & 0xfffe == 0xfffe => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}
