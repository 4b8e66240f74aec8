//! Standard error. What cannot be told there is left untold: `eprintln!` would end the program instead.

use std::io::Write;

/// Prints a line.
pub(super) fn line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
