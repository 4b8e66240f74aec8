//! Values as colours that people with any kind of colour vision can tell apart, in print too.

use maud::{Markup, html};

use super::Px;
use crate::report::html::text::plain_number;

/// A value of `best` is dark blue, one of `worst` bright yellow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::report::html) struct Scale {
    best: f64,
    worst: f64,
}

/// The colours from best to worst: an approximation of cividis, whose lightness grows evenly for everyone.
const COLOURS: [[u8; 3]; 9] = [
    [0, 34, 78],
    [18, 53, 112],
    [59, 73, 108],
    [87, 93, 109],
    [112, 113, 115],
    [138, 134, 120],
    [165, 156, 116],
    [195, 179, 105],
    [254, 232, 56],
];

/// The background of what has no value.
const NO_VALUE: Colour = Colour([128, 128, 128]);

/// A colour of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Colour([u8; 3]);

impl Colour {
    /// Black or white, whichever is easier to read on it.
    pub(super) fn ink(self) -> &'static str {
        // Relative luminance as WCAG defines it; at 0.179 both have the same contrast.
        let linear = self.0.map(|c| (f64::from(c) / 255.0).powf(2.2));
        let luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
        if luminance > 0.179 { "#000" } else { "#fff" }
    }
}

impl std::fmt::Display for Colour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [r, g, b] = self.0;
        write!(f, "#{r:02x}{g:02x}{b:02x}")
    }
}

impl Scale {
    /// A scale over all finite values of which larger ones are better. Values that differ by less than `least` do not
    /// fill it: they do not deserve the whole range of colours.
    pub(in crate::report::html) fn over(values: impl Iterator<Item = f64>, least: f64) -> Self {
        let finite = values.filter(|value| value.is_finite());
        let range = finite.fold(None, |range: Option<(f64, f64)>, value| {
            Some(range.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
        });
        let (low, high) = range.unwrap_or((0.0, 0.0));
        let missing = (least - (high - low)).max(0.0) / 2.0;
        Self { best: high + missing, worst: low - missing }
    }

    /// The colour of a value. An infinite one takes the end on its side.
    pub(super) fn colour(self, value: f64) -> Colour {
        let share = match (self.best - value) / (self.best - self.worst) {
            _ if value.is_nan() => return NO_VALUE,
            _ if value == f64::INFINITY => 0.0,
            _ if value == f64::NEG_INFINITY => 1.0,
            share if share.is_nan() => 0.5,
            share => share.clamp(0.0, 1.0),
        };
        let place = share * (COLOURS.len() - 1) as f64;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 8")]
        let below = (place as usize).min(COLOURS.len() - 2);
        let rest = place - below as f64;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two values of a byte")]
        let mix = |i: usize| {
            let (a, b) = (f64::from(COLOURS[below][i]), f64::from(COLOURS[below + 1][i]));
            (a + (b - a) * rest).round() as u8
        };
        Colour([mix(0), mix(1), mix(2)])
    }

    /// The colours between the values they begin and end with.
    pub(in crate::report::html) fn legend(self, unit: &str) -> Markup {
        const STEPS: u32 = 24;
        const WIDTH: f64 = 8.0;
        let value = |step: u32| self.worst + (self.best - self.worst) * f64::from(step) / f64::from(STEPS - 1);
        let total = f64::from(STEPS) * WIDTH;
        let label = |value: f64| if value.is_finite() { format!("{value:.1}") } else { plain_number(value) };
        html! {
            p.legend {
                span { (label(self.worst)) " " (unit) }
                svg width=(total) height="14" viewBox={ "0 0 " (total) " 14" } aria-hidden="true" {
                    @for step in 0..STEPS {
                        // Half a pixel of overlap, or lines show between the steps.
                        rect x=(Px(f64::from(step) * WIDTH)) width=(Px(WIDTH + 0.5)) height="14"
                            fill=(self.colour(value(step))) {}
                    }
                }
                span { (label(self.best)) " " (unit) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_the_scale_are_those_of_the_values() {
        let scale = Scale::over([10.0, f64::NAN, 30.0, f64::INFINITY].into_iter(), 6.0);
        assert_eq!(scale, Scale { best: 30.0, worst: 10.0 });
        let [best, worst] = [0, COLOURS.len() - 1].map(|i| Colour(COLOURS[i]));
        for (value, colour) in [
            (30.0, best),
            (99.0, best),
            (f64::INFINITY, best),
            (10.0, worst),
            (-5.0, worst),
            (f64::NEG_INFINITY, worst),
            (20.0, Colour(COLOURS[4])),
            (f64::NAN, NO_VALUE),
        ] {
            assert_eq!(scale.colour(value), colour, "{value}");
        }
        assert_eq!((best.to_string().as_str(), best.ink(), worst.ink()), ("#00224e", "#fff", "#000"));
    }

    #[test]
    fn few_or_close_values_have_a_scale_too() {
        assert_eq!(Scale::over([20.0].into_iter(), 6.0), Scale { best: 23.0, worst: 17.0 });
        assert_eq!(Scale::over([20.0, 22.0].into_iter(), 6.0), Scale { best: 24.0, worst: 18.0 });
        assert_eq!(Scale::over(std::iter::empty(), 6.0), Scale { best: 3.0, worst: -3.0 });
        let flat = Scale::over([5.0].into_iter(), 0.0);
        assert_eq!(flat.colour(5.0), Colour(COLOURS[4]));
    }

    #[test]
    fn text_can_be_read_on_every_colour() {
        /// What WCAG asks of large text and of graphics.
        const LEAST_CONTRAST: f64 = 4.5;
        let scale = Scale { best: 1.0, worst: 0.0 };
        for step in 0..=100 {
            let colour = scale.colour(f64::from(step) / 100.0);
            let linear = colour.0.map(|c| (f64::from(c) / 255.0).powf(2.2));
            let luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
            let ink = if colour.ink() == "#fff" { 1.0 } else { 0.0 };
            let (high, low) = (f64::max(ink, luminance), f64::min(ink, luminance));
            let contrast = (high + 0.05) / (low + 0.05);
            assert!(contrast >= LEAST_CONTRAST, "{colour} {contrast}");
        }
    }
}
