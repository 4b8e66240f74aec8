//! How far two measures agree on an order.

/// Spearman's rank correlation: 1 where both put everything into one order, -1 where one turns the other's around. Equal
/// values share the mean of their ranks. None for fewer than two values, or where all of one list are equal.
///
/// ```
/// use bitsmith::search::rank_correlation;
/// assert_eq!(rank_correlation(&[1.0, 2.0, 3.0], &[10.0, 20.0, 1000.0]), Some(1.0));
/// assert_eq!(rank_correlation(&[1.0, 2.0, 3.0, 4.0], &[2.0, 1.0, 4.0, 3.0]), Some(0.6));
/// assert_eq!(rank_correlation(&[1.0, 1.0], &[1.0, 2.0]), None);
/// ```
pub fn rank_correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() || a.len() < 2 {
        return None;
    }
    let [a, b] = [ranks(a), ranks(b)];
    let mean = (a.len() as f64 + 1.0) / 2.0;
    let sum = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    let spread = sum(&a, &a) * sum(&b, &b);
    (spread > 0.0).then(|| sum(&a, &b) / spread.sqrt())
}

/// Of each value its place in rising order, from 1 on.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|a, b| values[*a].total_cmp(&values[*b]).is_eq()) {
        let rank = before as f64 + (equal.len() as f64 + 1.0) / 2.0;
        equal.iter().for_each(|index| ranks[*index] = rank);
        before += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_their_ranks() {
        assert_eq!(ranks(&[5.0, 1.0, 5.0, 0.0, 5.0]), [4.0, 2.0, 4.0, 1.0, 4.0]);
        // By hand: ranks 1.5 1.5 3 against 1 2 3.
        let found = rank_correlation(&[0.0, 0.0, 1.0], &[1.0, 2.0, 3.0]).expect("they differ");
        assert!((found - 3f64.sqrt() / 2.0).abs() < 1e-12, "{found}");
        assert_eq!((rank_correlation(&[], &[]), rank_correlation(&[1.0], &[1.0])), (None, None));
        assert_eq!(rank_correlation(&[1.0, 2.0], &[1.0, 2.0, 3.0]), None);
    }
}
