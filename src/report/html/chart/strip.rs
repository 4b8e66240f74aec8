//! A value for each of many things in a row: coloured bars beside each other.

use maud::{Markup, html};

use super::{Px, Scale};

/// One of them.
#[derive(Debug)]
pub(in crate::report::html) struct Bar {
    /// Its height and colour.
    pub(in crate::report::html) value: f64,
    /// Shown on hovering.
    pub(in crate::report::html) hint: String,
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 90.0;
/// Bars that are narrower touch.
const GAP: f64 = 6.0;

/// The bars from the left, the highest as high as the strip.
pub(in crate::report::html) fn strip(bars: &[Bar], scale: Scale) -> Markup {
    let most = bars.iter().map(|bar| bar.value).filter(|value| value.is_finite()).fold(0.0, f64::max);
    let step = WIDTH / bars.len().max(1) as f64;
    let gap = if step > GAP { 1.0 } else { 0.0 };
    html! {
        svg.strip viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img"
            aria-label="Bars, one for each; the table below holds the same values" {
            rect.track width=(WIDTH) height=(HEIGHT) {}
            @for (place, bar) in bars.iter().enumerate() {
                @let height = if most > 0.0 { HEIGHT * bar.value.max(0.0) / most } else { 0.0 };
                "\n" rect x=(Px(step * place as f64)) y=(Px(HEIGHT - height)) width=(Px(step - gap)) height=(Px(height))
                    fill=(scale.colour(bar.value)) { title { (bar.hint) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_are_relative_to_the_highest() {
        let bar = |value| Bar { value, hint: "<layer>".into() };
        let drawn = strip(&[bar(8.0), bar(2.0), bar(f64::NAN)], Scale::over([2.0, 8.0].into_iter(), 1.0)).into_string();
        for part in ["height=\"90\"", "height=\"22.5\"", "&lt;layer&gt;"] {
            assert!(drawn.contains(part), "{drawn}");
        }
        assert!(!drawn.contains("NaN") && !strip(&[], Scale::over([].into_iter(), 1.0)).into_string().contains("NaN"));
    }
}
