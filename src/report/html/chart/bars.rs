//! Horizontal bars under their labels.

use maud::{Markup, html};

use super::Px;

/// One bar.
pub(in crate::report::html) struct Bar {
    /// What it stands for.
    pub(in crate::report::html) label: Markup,
    /// Its length; what is no positive number has none, except that an infinite one is full.
    pub(in crate::report::html) value: f64,
    /// The value in words.
    pub(in crate::report::html) text: String,
    /// Shown on hovering.
    pub(in crate::report::html) hint: String,
}

/// Bars below each other to a common scale from zero. Labels are text of the page, so they wrap and stay readable on
/// a narrow screen.
pub(in crate::report::html) fn bars(bars: &[Bar]) -> Markup {
    let longest = bars.iter().map(|bar| bar.value).filter(|value| value.is_finite()).fold(0.0, f64::max);
    html! {
        ol.bars {
            @for bar in bars {
                "\n" li title=(bar.hint) {
                    span.label { (bar.label) }
                    span.amount { (bar.text) }
                    svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true" {
                        rect.track width="100" height="1" {}
                        rect.bar width=(Px(length(bar.value, longest))) height="1" {}
                    }
                }
            }
        }
    }
}

/// Percent of the whole length.
fn length(value: f64, longest: f64) -> f64 {
    match value {
        f64::INFINITY => 100.0,
        value if value > 0.0 && longest > 0.0 => 100.0 * value / longest,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_relative_to_the_longest() {
        let lengths = [4.0, 1.0, 0.0, -1.0, f64::NAN, f64::INFINITY].map(|value| length(value, 4.0));
        assert_eq!(lengths, [100.0, 25.0, 0.0, 0.0, 0.0, 100.0]);
        assert_eq!(length(1.0, 0.0), 0.0);
    }

    #[test]
    fn hints_are_escaped() {
        let bar = Bar { label: html! { "<b>" }, value: 1.0, text: "\"1\"".into(), hint: "\" onload=\"x".into() };
        let drawn = bars(&[bar]).into_string();
        assert!(drawn.contains("title=\"&quot; onload=&quot;x\"") && drawn.contains("&lt;b&gt;"), "{drawn}");
    }
}
