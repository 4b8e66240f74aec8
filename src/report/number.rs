//! Numbers with units and with no more digits than they are worth.

/// Decimal units of bytes.
const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];

/// A size with three digits: `1.71 MB`.
pub(super) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    // At 999.5 three digits would round up to 1000.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// A count with thousands apart: `853 120`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let first = digits.len() % 3;
    let (head, rest) = digits.split_at(first);
    let groups = rest.as_bytes().chunks(3).map(|group| group.iter().map(|d| char::from(*d)).collect::<String>());
    std::iter::once(head.to_owned()).filter(|head| !head.is_empty()).chain(groups).collect::<Vec<_>>().join(" ")
}

/// A value with six significant digits, trailing zeros kept.
pub(super) fn value(value: f64) -> String {
    digits(value, 6)
}

/// A value with three significant digits.
pub(super) fn short(value: f64) -> String {
    digits(value, 3)
}

/// A mean and its standard error, which has two significant digits.
pub(super) fn estimate(mean: f64, error: f64) -> String {
    format!("{} ± {}", value(mean), digits(error, 2))
}

fn digits(value: f64, significant: i32) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    #[allow(clippy::cast_possible_truncation, reason = "the exponent of an f64 is small")]
    let exponent = value.abs().log10().floor() as i32;
    let decimals = usize::try_from(significant - 1 - exponent).unwrap_or(0);
    // Below this, a fixed form is mostly zeros.
    if exponent < -5 {
        return format!("{value:.*e}", usize::try_from(significant - 1).unwrap_or(0));
    }
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let sizes = [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (1_710_288, "1.71 MB"), (999_600, "1.00 MB")];
        for (n, text) in sizes.into_iter().chain([(12_345_678_901, "12.3 GB"), (u64::MAX, "18446744 TB")]) {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn thousands_stand_apart() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1 000"), (853_120, "853 120"), (1_000_001, "1 000 001")] {
            assert_eq!(count(n), text);
        }
    }

    #[test]
    fn digits_are_significant() {
        assert_eq!(value(3.813_88), "3.81388");
        assert_eq!(value(12345.678), "12345.7");
        assert_eq!(value(1_234_567.8), "1234568");
        assert_eq!(value(0.0), "0");
        assert_eq!(value(-0.000_000_123_456), "-1.23456e-7");
        assert_eq!(estimate(0.012_345_6, 0.000_42), "0.0123456 ± 0.00042");
    }
}
