//! Statistics and histograms kept on a device: batches give what all values at once give, beside formulas in f64.

use bitsmith::calib::Histogram;
use bitsmith::op::{Activations, Bins, ColumnStats, Columns, ValueCounts};
use bitsmith::{Device, Error, Random, Recorder};

/// Of a mean, relative to the spread of its column or to itself: up to a thousand f32 roundings of it, which add up as their
/// square root.
const MEAN: f64 = 3e-6;
/// Of a variance, relative: the same for its sum.
const VARIANCE: f64 = 5e-6;
/// Of a variance, relative to the mean times the deviation: what the rounding of the mean in f32 does to a distance from it.
const ROUNDED_MEAN: f64 = f32::EPSILON as f64;
const COLS: usize = 37;

/// Columns of different spread, some far from 0, one constant, and one row that is far larger than all others.
fn values(rows: usize) -> Vec<f32> {
    let mut random = Random::new(31);
    let mut value = |i: usize| {
        let (row, col) = (i / COLS, i % COLS);
        match (row, col) {
            (3, 5) => -4000.0,
            (_, 7) => 2.5,
            _ => 100.0 * (col % 3) as f32 + (1 + col % 5) as f32 * random.normal(),
        }
    };
    (0..rows * COLS).map(&mut value).collect()
}

fn collect(device: &Device, batches: &[&[f32]]) -> (Columns, Bins) {
    let (mut stats, mut counts) = (ColumnStats::new(device, COLS).unwrap(), ValueCounts::new(device).unwrap());
    for batch in batches {
        let mut rec = Recorder::new(device);
        let x = Activations::upload(device, batch.len() / COLS, COLS, batch).unwrap();
        stats.add(&mut rec, &x).unwrap();
        counts.add(&mut rec, &x, &stats).unwrap();
        rec.submit().unwrap();
    }
    (pollster::block_on(stats.read(device)).unwrap(), pollster::block_on(counts.read(device)).unwrap())
}

#[test]
fn batches_give_what_all_rows_give() {
    let device = Device::cpu();
    let values = values(1000);
    let (whole, bins) = collect(&device, &[&values]);
    for rows in [1, 7, 64, 999] {
        let batches: Vec<&[f32]> = values.chunks(rows * COLS).collect();
        let (columns, parts) = collect(&device, &batches);
        assert_eq!(parts, bins, "{rows} rows at a time");
        for (col, (found, all)) in columns.columns.iter().zip(&whole.columns).enumerate() {
            let exact: Vec<f64> = values.iter().skip(col).step_by(COLS).map(|x| f64::from(*x)).collect();
            let mean = exact.iter().sum::<f64>() / 1000.0;
            let variance = exact.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 1000.0;
            let ends = exact.iter().fold([f64::MAX, f64::MIN], |[a, b], x| [a.min(*x), b.max(*x)]);
            for found in [found, all] {
                let place = format!("{rows} rows at a time, column {col}");
                assert_eq!([f64::from(found.min), f64::from(found.max)], ends, "{place}");
                let off = (found.mean - mean).abs();
                assert!(off <= MEAN * mean.abs().max(variance.sqrt()), "{place}: mean {} not {mean}", found.mean);
                let off = (found.variance() - variance).abs();
                let allowed = VARIANCE * variance + ROUNDED_MEAN * mean.abs() * variance.sqrt();
                assert!(off <= allowed, "{place}: variance {} not {variance}", found.variance());
                let second = exact.iter().map(|x| x * x).sum::<f64>() / 1000.0;
                assert!((found.second_moment() - second).abs() <= VARIANCE * second, "{place}");
            }
        }
    }
    let exact: Vec<f64> = values.iter().map(|x| f64::from(*x)).collect();
    let mean = exact.iter().sum::<f64>() / exact.len() as f64;
    let variance = exact.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / exact.len() as f64;
    let all = whole.whole();
    assert_eq!((all.count, all.min, all.abs_max()), (37_000, -4000.0, 4000.0));
    assert!((all.mean - mean).abs() <= MEAN * mean.abs() && (all.variance() - variance).abs() <= VARIANCE * variance);
}

#[test]
fn bins_hold_every_value_where_it_belongs() {
    let values = values(1000);
    let (_, bins) = collect(&Device::cpu(), &values.chunks(50 * COLS).collect::<Vec<_>>());
    let width = 2f64.powi(bins.exponent);
    let mut expected = vec![0; bins.counts.len()];
    for x in &values {
        #[allow(clippy::cast_possible_truncation, reason = "a few thousand bins")]
        let bin = (f64::from(*x) / width).floor() as i64;
        expected[usize::try_from(bin - bins.first).unwrap()] += 1;
    }
    assert_eq!(bins.counts, expected);
    assert_eq!(width, 1.0, "4096 bins up to 4096");
}

#[test]
fn percentiles_come_from_the_bins() {
    let mut values = values(1000);
    let (columns, bins) = collect(&Device::cpu(), &values.chunks(50 * COLS).collect::<Vec<_>>());
    let whole = columns.whole();
    let histogram = Histogram::from_bins(&bins, [whole.min, whole.max]).unwrap();
    values.sort_by(f32::total_cmp);
    for share in [0.001, 0.25, 0.5, 0.9, 0.9999] {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let exact = values[(share * values.len() as f64) as usize];
        assert!(f64::from((histogram.quantile(share) - exact).abs()) <= histogram.width(), "{share}");
    }
    assert!(Histogram::from_bins(&bins, [whole.min, 2.0 * whole.max]).is_err());
}

#[test]
fn what_cannot_be_counted() {
    let device = Device::cpu();
    let mut stats = ColumnStats::new(&device, 3).unwrap();
    let mut rec = Recorder::new(&device);
    let x = Activations::upload(&device, 1, 2, &[1.0, 2.0]).unwrap();
    assert!(matches!(stats.add(&mut rec, &x), Err(Error::Shape { op: "column_stats", .. })));
    assert!(ValueCounts::new(&device).unwrap().add(&mut rec, &x, &stats).is_err());
    assert!(matches!(pollster::block_on(stats.read(&device)), Err(Error::Shape { .. })));
    assert!(ColumnStats::new(&device, 0).is_err());
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let x = Activations::upload(&device, 2, 3, &[1.0, bad, 2.0, 0.0, 0.0, 0.0]).unwrap();
        let mut stats = ColumnStats::new(&device, 3).unwrap();
        let mut rec = Recorder::new(&device);
        stats.add(&mut rec, &x).unwrap();
        rec.submit().unwrap();
        assert!(matches!(pollster::block_on(stats.read(&device)), Err(Error::NotFinite { col: 1, .. })));
    }
    let none = ValueCounts::new(&device).unwrap();
    assert_eq!(pollster::block_on(none.read(&device)).unwrap(), Bins::default());
}
