//! A value that changes from step to step, as a line.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::Px;
use crate::report::html::text::plain_number;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
/// Room for labels on the left and below.
const LEFT: f64 = 56.0;
const BELOW: f64 = 24.0;
/// Points of the line; more steps are taken together.
const POINTS: usize = 320;
/// Horizontal lines.
const TICKS: u32 = 4;

/// The values of steps 1, 2, 3 and so on; each point is the mean of as many steps as it takes. Values that are no numbers are
/// left out.
pub(in crate::report::html) fn curve(values: &[f64], unit: &str) -> Markup {
    let points = points(values);
    let range = points.iter().fold(None, |range: Option<(f64, f64)>, (_, y)| {
        Some(range.map_or((*y, *y), |(low, high)| (low.min(*y), high.max(*y))))
    });
    let Some((low, high)) = range else { return html! { p.note { "There are no values." } } };
    let steps = values.len().max(1) as f64;
    let x = |step: f64| LEFT + (WIDTH - LEFT - 8.0) * step / steps;
    let spread = if high > low { high - low } else { 1.0 };
    let y = |value: f64| 8.0 + (HEIGHT - BELOW - 8.0) * (high - value) / spread;
    let mut line = String::new();
    for (step, value) in &points {
        // Writing to a string cannot fail.
        let _ = write!(line, "{}{},{}", if line.is_empty() { "" } else { " " }, Px(x(*step)), Px(y(*value)));
    }
    html! {
        svg.curve viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label={ "from " (plain_number(points[0].1)) " to "
            (plain_number(points[points.len() - 1].1)) " " (unit) } {
            @for tick in 0..=TICKS {
                @let value = low + spread * f64::from(tick) / f64::from(TICKS);
                line.grid x1=(Px(LEFT)) x2=(Px(WIDTH - 8.0)) y1=(Px(y(value))) y2=(Px(y(value))) {}
                text x=(Px(LEFT - 6.0)) y=(Px(y(value) + 4.0)) text-anchor="end" { (format!("{value:.3}")) }
            }
            text x=(Px(LEFT)) y=(Px(HEIGHT - 6.0)) { "step 1" }
            text x=(Px(WIDTH - 8.0)) y=(Px(HEIGHT - 6.0)) text-anchor="end" { (values.len()) }
            polyline.line points=(line) {}
        }
    }
}

/// Steps and means, at most [`POINTS`].
fn points(values: &[f64]) -> Vec<(f64, f64)> {
    let size = values.len().div_ceil(POINTS).max(1);
    let mean = |(index, values): (usize, &[f64])| {
        let step = index as f64 * size as f64 + (values.len() as f64 + 1.0) / 2.0;
        (step, values.iter().sum::<f64>() / values.len() as f64)
    };
    values.chunks(size).enumerate().map(mean).filter(|(_, mean)| mean.is_finite()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_steps_become_few_points() {
        assert_eq!(points(&[4.0, 2.0]), [(1.0, 4.0), (2.0, 2.0)]);
        let many: Vec<f64> = (0..1000).map(f64::from).collect();
        let few = points(&many);
        assert_eq!((few.len(), few[0]), (250, (2.5, 1.5)));
        let drawn = curve(&many, "nats").into_string();
        assert!(drawn.contains("polyline") && !drawn.contains("NaN"), "{drawn}");
        for odd in [&[][..], &[f64::NAN], &[1.0, f64::INFINITY], &[3.0]] {
            assert!(!curve(odd, "nats").into_string().contains("NaN"), "{odd:?}");
        }
    }
}
