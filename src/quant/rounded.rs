//! How far a format moves weights that it has no codes for.

/// How far weights are from what their codes meant.
#[derive(Default)]
pub(super) struct Rounded {
    layers: usize,
    worst: f64,
}

impl Rounded {
    /// The distance of one layer, relative to its values; infinite for another number of values.
    pub(super) fn add(&mut self, found: &[f32], meant: &[f32]) -> f64 {
        let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
        let off = square(&mut found.iter().zip(meant).map(|(a, b)| f64::from(*a) - f64::from(*b)));
        let all = square(&mut meant.iter().map(|value| f64::from(*value)));
        let distance = match (found.len() == meant.len(), off == 0.0) {
            (false, _) => f64::INFINITY,
            (true, true) => 0.0,
            (true, false) => (off / all).sqrt(),
        };
        self.layers += 1;
        self.worst = self.worst.max(distance);
        distance
    }

    pub(super) fn note(&self) -> Option<String> {
        (self.layers > 0).then(|| {
            let percent = 100.0 * self.worst;
            format!("note: {} layer(s) were requantised, their weights moved by {percent:.3} % at most", self.layers)
        })
    }
}
