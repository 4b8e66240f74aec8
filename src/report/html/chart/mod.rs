//! Pictures as inline SVG: functions of numbers and words, no more.

mod bars;
mod curve;
mod heat_map;
mod path;
mod scale;
mod shares;
pub(super) mod strip;

use std::fmt;

pub(super) use bars::{Bar, bars};
pub(super) use curve::curve;
pub(super) use heat_map::{Cell, HeatMap};
pub(super) use path::{Mark, Path, path};
pub(super) use scale::Scale;
pub(super) use shares::{Share, Stack, stacks};
pub(super) use strip::strip;

/// A position or length in pixels, to a tenth.
#[derive(Clone, Copy)]
struct Px(f64);

impl fmt::Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = (self.0 * 10.0).round() / 10.0;
        write!(f, "{}", if rounded.is_finite() { rounded } else { 0.0 })
    }
}

/// An estimate of the width of a label in pixels, for letters of this height. The browser chooses the font.
fn text_width(label: &str, height: f64) -> f64 {
    // Wide characters, those of East Asia and symbols, take about their height; Latin ones of a common font 0.6 of it.
    label.chars().map(|c| if u32::from(c) < 0x1100 { 0.6 } else { 1.05 }).sum::<f64>() * height
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_short_and_finite() {
        let shown = [0.0, 12.345, 7.04, -0.26, f64::NAN, f64::INFINITY].map(|length| Px(length).to_string());
        assert_eq!(shown, ["0", "12.3", "7", "-0.3", "0", "0"]);
    }
}
