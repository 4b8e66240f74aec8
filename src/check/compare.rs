//! How far a device's result may lie from the twin's.

/// The allowed distance of one element: `absolute + relative * |expected|`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Independent of the value.
    pub absolute: f32,
    /// In proportion to the value.
    pub relative: f32,
}

impl Tolerance {
    /// Equal bits: codes, packing, copies, and arithmetic that is correctly rounded everywhere.
    pub const EXACT: Self = Self { absolute: 0.0, relative: 0.0 };

    /// One elementwise function of f32: shaders may err by a few units in the last place in division and square root,
    /// and by 2^-11 absolute at worst in exp and trigonometric functions on unit-sized arguments (WGSL's accuracy table).
    pub const ELEMENTWISE: Self = Self { absolute: 2e-6, relative: 4e-6 };

    /// A sum of `terms` products whose magnitudes are about `size`, added in another order: the error of each order grows
    /// like the square root of the number of additions, and 8 covers the tails of that estimate.
    pub fn sum(terms: usize, size: f32) -> Self {
        let error = 8.0 * f32::EPSILON * (terms as f32).sqrt();
        Self { absolute: error * size, relative: error }
    }

    /// Both allowances, the larger of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { absolute: self.absolute.max(other.absolute), relative: self.relative.max(other.relative) }
    }

    /// Whether `found` may stand for `expected`.
    pub fn accepts(self, expected: u32, found: u32) -> bool {
        if expected == found {
            return true;
        }
        let (expected, found) = (f32::from_bits(expected), f32::from_bits(found));
        self != Self::EXACT && (expected - found).abs() <= self.absolute + self.relative * expected.abs()
    }
}
