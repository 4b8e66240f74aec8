//! The machine and the day, so that a table says where it comes from.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// The date in UTC as year-month-day.
pub(super) fn today() -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
    date(days)
}

/// The date so many days after 1970-01-01.
fn date(days: u64) -> String {
    // Years that begin in March put the leap day last; 146,097 days make 400 of them, the first from 0000-03-01.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year, if month < 10 { month + 3 } else { month - 9 });
    format!("{:04}-{month:02}-{day:02}", year + u64::from(month <= 2))
}

/// The processor, as its maker calls it where Linux tells, else its architecture.
pub(super) fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    field(&info, "model name").unwrap_or(std::env::consts::ARCH).to_owned()
}

/// The most memory that this process has ever held, files mapped into it counted; Linux alone tells.
pub(super) fn peak_resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib: u64 = field(&status, "VmHWM")?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The value of the first line `name: value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.trim_start().strip_prefix(':').map(str::trim);
    text.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (days, expected) in [(0, "1970-01-01"), (11_016, "2000-02-29"), (11_017, "2000-03-01")] {
            assert_eq!(date(days), expected);
        }
        assert_eq!(date(20_453), "2025-12-31");
    }

    #[test]
    fn fields() {
        let text = "model\t: 1\nmodel name\t: A B\nVmHWM:\t  12 kB\n";
        assert_eq!((field(text, "model name"), field(text, "VmHWM")), (Some("A B"), Some("12 kB")));
        assert_eq!(field(text, "absent"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_is_measured() {
        assert!(peak_resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
