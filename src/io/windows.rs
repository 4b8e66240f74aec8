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
