//! Which tokens an evaluation looks at together, and which of them it scores.

use std::ops::Range;

use crate::error::{Error, Result};

/// Windows of `window` tokens that start `stride` apart; an incomplete last one is dropped.
///
/// ```
/// use bitsmith::io::Windows;
/// let windows: Vec<_> = Windows::new(10, 4, 2)?.collect();
/// assert_eq!(windows.len(), 4);
/// assert_eq!((windows[1].tokens(), windows[1].targets()), (2..6, 4..6));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Windows {
    window: usize,
    stride: usize,
    count: usize,
    next: usize,
}

/// One window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Position of its first token in the stream.
    pub start: usize,
    /// Number of tokens.
    pub len: usize,
    /// Index in the window of the first token that is scored; all after it are scored too. At least 1: the first
    /// token of a window is context only.
    pub score_from: usize,
}

impl Window {
    /// Positions of its tokens in the stream.
    pub fn tokens(&self) -> Range<usize> {
        self.start..self.start + self.len
    }

    /// Positions of the scored tokens in the stream.
    pub fn targets(&self) -> Range<usize> {
        self.start + self.score_from..self.start + self.len
    }

    /// Number of tokens scored.
    pub fn scored(&self) -> usize {
        self.len - self.score_from
    }
}

impl Windows {
    /// Cuts a stream of `tokens` tokens. With a stride equal to the window, every token but the first of each
    /// window is scored; with a smaller stride, the first window is scored like that and each further one only on
    /// the `stride` tokens that no window before it held.
    ///
    /// # Errors
    /// [`Error::Config`] if the window holds fewer than 2 tokens, if the stride is 0 or over the window, or if the
    /// stream does not fill one window.
    pub fn new(tokens: usize, window: usize, stride: usize) -> Result<Self> {
        if window < 2 {
            return Err(Error::config("window", format!("{window} tokens; at least 2 are needed to predict one")));
        }
        if stride == 0 || stride > window {
            return Err(Error::config(
                "stride",
                format!("{stride}; it must be from 1 to the window of {window} tokens"),
            ));
        }
        if tokens < window {
            let detail =
                format!("{window} tokens, but the text has only {tokens}: use a longer text or a smaller window");
            return Err(Error::config("window", detail));
        }
        Ok(Self { window, stride, count: (tokens - window) / stride + 1, next: 0 })
    }

    /// Tokens scored in the windows that are still to come.
    pub fn scored(&self) -> usize {
        self.clone().map(|w| w.scored()).sum()
    }
}

impl Iterator for Windows {
    type Item = Window;

    fn next(&mut self) -> Option<Window> {
        let index = (self.next < self.count).then_some(self.next)?;
        self.next += 1;
        let score_from = if index == 0 { 1 } else { (self.window - self.stride).max(1) };
        Some(Window { start: index * self.stride, len: self.window, score_from })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.count - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Windows {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unusable_settings_are_refused_with_a_remedy() {
        let cases = [
            (100, 1, 1, "at least 2"),
            (100, 8, 0, "from 1 to the window of 8"),
            (100, 8, 9, "from 1 to the window of 8"),
            (7, 8, 8, "the text has only 7"),
            (0, 2, 2, "the text has only 0"),
        ];
        for (tokens, window, stride, expected) in cases {
            let error = Windows::new(tokens, window, stride).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn one_window_exactly() {
        let windows: Vec<_> = Windows::new(2, 2, 1).unwrap().collect();
        assert_eq!(windows, [Window { start: 0, len: 2, score_from: 1 }]);
    }

    proptest! {
        #[test]
        fn every_token_that_has_context_is_scored_once(
            window in 2usize..40, stride_share in 0.0f64..1.0, extra in 0usize..200,
        ) {
            let stride = 1 + (stride_share * window as f64) as usize;
            let tokens = window + extra;
            let windows = Windows::new(tokens, window, stride).unwrap();
            let mut times = vec![0; tokens];
            let (mut scored, mut end) = (0, 0);
            prop_assert_eq!(windows.len(), windows.clone().count());
            for w in windows.clone() {
                prop_assert_eq!(w.tokens().len(), window);
                prop_assert!(w.targets().start > w.start, "the first token of a window is context");
                w.targets().for_each(|t| times[t] += 1);
                scored += w.scored();
                end = w.tokens().end;
            }
            prop_assert_eq!(windows.scored(), scored);
            prop_assert!(end <= tokens && tokens - end < stride, "what is dropped does not fill a window");
            for (position, times) in times.iter().enumerate() {
                let context_only = position == 0 || (stride == window && position % window == 0);
                prop_assert_eq!(*times, usize::from(position < end && !context_only), "token {}", position);
            }
        }
    }
}
