//! What wholes are made of: one bar each, to a common scale.

use maud::{Markup, html};

use super::Px;
use crate::report::number::bytes;

/// One whole.
pub(in crate::report::html) struct Stack {
    /// What it is.
    pub(in crate::report::html) label: &'static str,
    /// Its parts, from the left.
    pub(in crate::report::html) shares: Vec<Share>,
}

/// A part.
pub(in crate::report::html) struct Share {
    /// What it is.
    pub(in crate::report::html) label: &'static str,
    /// Which of the colours of the page's style, `s0` to `s3`. Parts of the same kind have the same in each stack.
    pub(in crate::report::html) colour: &'static str,
    /// Its size.
    pub(in crate::report::html) bytes: u64,
}

impl Stack {
    fn bytes(&self) -> u64 {
        self.shares.iter().map(|share| share.bytes).sum()
    }
}

/// The stacks below each other, each with its parts in words.
pub(in crate::report::html) fn stacks(stacks: &[Stack]) -> Markup {
    let most = stacks.iter().map(Stack::bytes).max().unwrap_or(0).max(1) as f64;
    html! {
        @for stack in stacks {
            @let total = stack.bytes();
            "\n" div.stack {
                p.label { b { (stack.label) } " " (bytes(total)) }
                svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true" {
                    rect.track width="100" height="1" {}
                    @let mut left = 0.0;
                    @for share in &stack.shares {
                        @let width = 100.0 * share.bytes as f64 / most;
                        rect class=(share.colour) x=(left) width=(width) height="1" {
                            title { (share.label) ": " (bytes(share.bytes)) }
                        }
                        @let () = left += width;
                    }
                }
                ul.key {
                    @for share in stack.shares.iter().filter(|share| share.bytes > 0) {
                        li {
                            svg.swatch viewBox="0 0 1 1" aria-hidden="true" { rect class=(share.colour) width="1" height="1" {} }
                            (share.label) " "
                            data value=(share.bytes) { (bytes(share.bytes)) }
                            " (" (Px(100.0 * share.bytes as f64 / total.max(1) as f64)) " %)"
                        }
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
    fn parts_lie_end_to_end_and_to_scale() {
        let share = |colour, bytes| Share { label: "part", colour, bytes };
        let drawn = stacks(&[
            Stack { label: "before", shares: vec![share("s0", 150), share("s1", 50)] },
            Stack { label: "after", shares: vec![share("s0", 50), share("s1", 0)] },
        ]);
        let drawn = drawn.into_string();
        for part in [
            "class=\"s0\" x=\"0\" width=\"75\"",
            "class=\"s1\" x=\"75\" width=\"25\"",
            "class=\"s0\" x=\"0\" width=\"25\"",
            "(75 %)",
        ] {
            assert!(drawn.contains(part), "{part} is not in {drawn}");
        }
        assert!(stacks(&[Stack { label: "nothing", shares: vec![share("s0", 0)] }]).into_string().contains("0 B"));
    }
}
