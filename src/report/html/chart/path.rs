//! A value step by step, where some steps were taken back.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::Px;

/// What is drawn.
#[derive(Debug)]
pub(in crate::report::html) struct Path {
    /// Of each step.
    pub(in crate::report::html) steps: Vec<Mark>,
    /// A line that the value is to stay below.
    pub(in crate::report::html) limit: Option<f64>,
    /// A value in words.
    pub(in crate::report::html) text: fn(f64) -> String,
}

/// A step.
#[derive(Debug)]
pub(in crate::report::html) struct Mark {
    /// The value with the step in place.
    pub(in crate::report::html) value: f64,
    /// Whether it was kept.
    pub(in crate::report::html) kept: bool,
    /// Shown on hovering.
    pub(in crate::report::html) hint: String,
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 220.0;
/// Room for labels on the left and below.
const LEFT: f64 = 78.0;
const BELOW: f64 = 24.0;
/// Horizontal lines.
const TICKS: u32 = 4;
/// What was taken back may lie this much of the height above all else; higher marks stand at the edge.
const ABOVE: f64 = 0.25;

/// A line through the steps that were kept, a dot for each, and a cross for each that was taken back.
pub(in crate::report::html) fn path(path: &Path) -> Markup {
    let kept = path.steps.iter().filter(|step| step.kept).map(|step| step.value).filter(|value| value.is_finite());
    let range = kept.chain(path.limit).fold(None, |range: Option<(f64, f64)>, value| {
        Some(range.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
    });
    let Some((low, high)) = range else { return html! { p.note { "No step was kept." } } };
    let highest = path.steps.iter().map(|step| step.value).filter(|value| value.is_finite()).fold(high, f64::max);
    let high = highest.min(high + ABOVE * (high - low));
    let spread = if high > low { high - low } else { 1.0 };
    let x = |place: usize| LEFT + (WIDTH - LEFT - 8.0) * (place as f64 + 0.5) / path.steps.len().max(1) as f64;
    let y = |value: f64| 8.0 + (HEIGHT - BELOW - 8.0) * ((high - value) / spread).clamp(0.0, 1.0);
    let mut line = String::new();
    for (place, step) in path.steps.iter().enumerate().filter(|(_, step)| step.kept && step.value.is_finite()) {
        // Writing to a string cannot fail.
        let _ = write!(line, "{}{},{}", if line.is_empty() { "" } else { " " }, Px(x(place)), Px(y(step.value)));
    }
    html! {
        svg.curve.path viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img"
            aria-label="Steps from the left to the right; the table below holds the same values" {
            @for tick in 0..=TICKS {
                @let value = low + spread * f64::from(tick) / f64::from(TICKS);
                line.grid x1=(Px(LEFT)) x2=(Px(WIDTH - 8.0)) y1=(Px(y(value))) y2=(Px(y(value))) {}
                text x=(Px(LEFT - 6.0)) y=(Px(y(value) + 4.0)) text-anchor="end" { ((path.text)(value)) }
            }
            @if let Some(limit) = path.limit {
                line.limit x1=(Px(LEFT)) x2=(Px(WIDTH - 8.0)) y1=(Px(y(limit))) y2=(Px(y(limit))) {
                    title { "limit: " ((path.text)(limit)) }
                }
            }
            text x=(Px(LEFT)) y=(Px(HEIGHT - 6.0)) { "step 1" }
            text x=(Px(WIDTH - 8.0)) y=(Px(HEIGHT - 6.0)) text-anchor="end" { (path.steps.len()) }
            polyline.line points=(line) {}
            @for (place, step) in path.steps.iter().enumerate() {
                @let (x, y) = (x(place), y(if step.value.is_nan() { f64::INFINITY } else { step.value }));
                @if step.kept {
                    "\n" circle.kept cx=(Px(x)) cy=(Px(y)) r="3" { title { (step.hint) } }
                } @else {
                    "\n" g.back {
                        title { (step.hint) }
                        line x1=(Px(x - 4.0)) y1=(Px(y - 4.0)) x2=(Px(x + 4.0)) y2=(Px(y + 4.0)) {}
                        line x1=(Px(x - 4.0)) y1=(Px(y + 4.0)) x2=(Px(x + 4.0)) y2=(Px(y - 4.0)) {}
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_taken_back_are_crosses_within_the_picture() {
        let mark = |value, kept| Mark { value, kept, hint: "a & b".into() };
        let steps = vec![mark(1.0, true), mark(1e9, false), mark(f64::NAN, false), mark(2.0, true)];
        let drawn = path(&Path { steps, limit: Some(3.0), text: |v| format!("{v:.1} %") }).into_string();
        assert_eq!((drawn.matches("class=\"kept\"").count(), drawn.matches("class=\"back\"").count()), (2, 2));
        // The line goes from the lowest kept value to the next one, past the crosses; the limit is below the edge.
        assert!(drawn.contains("polyline") && drawn.contains("limit: 3.0 %") && drawn.contains("a &amp; b"), "{drawn}");
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
        let none = Path { steps: vec![mark(1.0, false)], limit: None, text: |v| v.to_string() };
        assert!(path(&none).into_string().contains("No step"));
    }
}
