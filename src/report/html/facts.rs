//! What a result alone does not tell: what was typed, where it ran, when and for how long.

use std::time::{Instant, SystemTime};

use crate::device::Device;

/// The circumstances of a run.
///
/// ```
/// use bitsmith::Device;
/// use bitsmith::report::html::RunFacts;
/// let facts = RunFacts::new(&Device::cpu(), std::time::Instant::now()).command(["bitsmith", "eval", "my model"]);
/// assert_eq!(facts.command_line().unwrap(), "bitsmith eval 'my model'");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RunFacts {
    /// What was typed, program first; empty where nothing was.
    pub command: Vec<String>,
    /// Name and driver of the device.
    pub device: String,
    /// Wall time of the run.
    pub seconds: f64,
    /// When it ended.
    pub finished: SystemTime,
}

impl RunFacts {
    /// Of a run on `device` that began at `start` and ends now.
    pub fn new(device: &Device, start: Instant) -> Self {
        let caps = device.caps();
        Self {
            command: Vec::new(),
            device: format!("{} ({}, {})", caps.name, caps.backend, caps.driver),
            seconds: start.elapsed().as_secs_f64(),
            finished: SystemTime::now(),
        }
    }

    /// Adds what was typed, program first.
    #[must_use]
    pub fn command<S: Into<String>>(self, words: impl IntoIterator<Item = S>) -> Self {
        Self { command: words.into_iter().map(Into::into).collect(), ..self }
    }

    /// The command in one line, quoted for a POSIX shell.
    pub fn command_line(&self) -> Option<String> {
        let words: Vec<_> = self.command.iter().map(|word| quoted(word)).collect();
        (!words.is_empty()).then(|| words.join(" "))
    }

    /// Date and time, to the minute.
    pub(super) fn date(&self) -> String {
        let date = jiff::Timestamp::try_from(self.finished).map(|time| time.strftime("%Y-%m-%d %H:%M UTC").to_string());
        date.unwrap_or_else(|_| "unknown".to_owned())
    }

    /// The time in the largest units that make sense.
    pub(super) fn duration(&self) -> String {
        let seconds = self.seconds;
        if !(60.0..1e9).contains(&seconds) {
            return format!("{seconds:.1} s");
        }
        let (hours, minutes, rest) = (seconds / 3600.0, seconds / 60.0 % 60.0, seconds % 60.0);
        match hours >= 1.0 {
            true => format!("{} h {} min", hours.floor(), minutes.floor()),
            false => format!("{} min {} s", minutes.floor(), rest.floor()),
        }
    }
}

/// A word as a shell takes it back unchanged.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:=@_".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn facts(seconds: f64, finished: SystemTime) -> RunFacts {
        RunFacts { command: Vec::new(), device: String::new(), seconds, finished }
    }

    #[test]
    fn dates_and_times_are_read_at_a_glance() {
        let run = facts(0.0, UNIX_EPOCH + Duration::from_secs(1_795_276_800 + 61));
        assert_eq!(run.date(), "2026-11-21 16:01 UTC");
        for (seconds, text) in [(0.04, "0.0 s"), (59.9, "59.9 s"), (61.5, "1 min 1 s"), (3_725.0, "1 h 2 min")] {
            assert_eq!(facts(seconds, UNIX_EPOCH).duration(), text);
        }
        assert_eq!(facts(f64::NAN, UNIX_EPOCH).duration(), "NaN s");
    }

    #[cfg(unix)]
    #[test]
    fn a_shell_reads_the_same_words() {
        let words = ["plain", "", "two words", "it's", "$HOME `id` \"x\" \\ *", "<|endoftext|>", "größe\n"];
        let run = facts(0.0, UNIX_EPOCH).command(words);
        let line = format!("printf '%s|' {}", run.command_line().expect("there are words"));
        let output = std::process::Command::new("sh").args(["-c", &line]).output().expect("sh is there");
        assert_eq!(String::from_utf8_lossy(&output.stdout), words.map(|word| format!("{word}|")).concat());
        assert_eq!(facts(0.0, UNIX_EPOCH).command_line(), None);
    }
}
