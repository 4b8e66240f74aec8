//! Dot products of bytes on sixteen 32-bit lanes: unsigned codes of a weight, signed codes of activations.

use super::{LANES, Words};

/// An instruction set with dot products of bytes.
pub trait Bytes: Copy + Send + Sync {
    /// Sixteen words: four bytes each, or an i32.
    type W: Copy;
    /// Whether there are registers for sixteen sums of sixteen lanes and what is added to them.
    const MANY: bool;

    fn words(self, from: &Words) -> Self::W;
    fn splat(self, word: u32) -> Self::W;
    fn store(self, value: Self::W, to: &mut Words);
    /// A hint that the line of the word this far on is wanted soon. It may lie outside.
    fn prefetch(self, from: &[u32], ahead: usize);
    fn or(self, a: Self::W, b: Self::W) -> Self::W;
    fn and(self, a: Self::W, mask: u32) -> Self::W;
    fn shift_right(self, a: Self::W, by: u32) -> Self::W;
    fn shift_left(self, a: Self::W, by: u32) -> Self::W;
    /// `sum + a[0] * b[0] + .. + a[3] * b[3]` in each lane, `a` unsigned and `b` signed. With `HIGH` the top bit of
    /// bytes of `a` may be set.
    fn dot<const HIGH: bool>(self, sum: Self::W, a: Self::W, b: Self::W) -> Self::W;
    /// Word `i` of vector `j` becomes word `j` of vector `i`.
    fn transpose(self, vectors: &mut [Self::W; LANES]);
    /// `to += (sum - zeros * x_sum) * (scales * x_scale)`: the bracket in i32, the rest in f32.
    fn add_scaled(self, to: &mut Words, sum: Self::W, group: &Group, x_sum: i32, x_scale: f32);
}

/// Sixteen groups of a weight, one for each of sixteen rows.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Bits of the scales, f32.
    pub scales: Words,
    /// Zero points.
    pub zeros: Words,
}

/// A computation for any instruction set; `run` and all it calls must be `#[inline(always)]`.
pub trait Run {
    fn run<S: Bytes>(self, simd: S);
}

/// Runs with the best instruction set there is.
#[inline]
pub fn run<R: Run>(task: R) {
    #[cfg(target_arch = "x86_64")]
    {
        use super::x86_int8::{Avx2, Avx512Vnni};
        if let Some(simd) = Avx512Vnni::found() {
            return simd.run(task);
        }
        if let Some(simd) = Avx2::found() {
            return simd.run(task);
        }
    }
    task.run(Portable);
}

/// Plain arrays.
#[derive(Clone, Copy)]
struct Portable;

impl Bytes for Portable {
    type W = Words;
    const MANY: bool = false;

    #[inline(always)]
    fn words(self, from: &Words) -> Words {
        *from
    }
    #[inline(always)]
    fn splat(self, word: u32) -> Words {
        [word; LANES]
    }
    #[inline(always)]
    fn store(self, value: Words, to: &mut Words) {
        *to = value;
    }
    #[inline(always)]
    fn prefetch(self, _: &[u32], _: usize) {}
    #[inline(always)]
    fn or(self, a: Words, b: Words) -> Words {
        std::array::from_fn(|lane| a[lane] | b[lane])
    }
    #[inline(always)]
    fn and(self, a: Words, mask: u32) -> Words {
        a.map(|a| a & mask)
    }
    #[inline(always)]
    fn shift_right(self, a: Words, by: u32) -> Words {
        a.map(|a| a >> by)
    }
    #[inline(always)]
    fn shift_left(self, a: Words, by: u32) -> Words {
        a.map(|a| a << by)
    }
    #[inline(always)]
    fn dot<const HIGH: bool>(self, sum: Words, a: Words, b: Words) -> Words {
        let signed = |b: u8| i32::from(b as i8);
        let term = |(a, b): (u8, u8)| i32::from(a) * signed(b);
        std::array::from_fn(|lane| {
            let dot: i32 = a[lane].to_le_bytes().into_iter().zip(b[lane].to_le_bytes()).map(term).sum();
            sum[lane].wrapping_add(dot as u32)
        })
    }
    #[inline(always)]
    fn transpose(self, vectors: &mut [Words; LANES]) {
        let from = *vectors;
        *vectors = std::array::from_fn(|i| std::array::from_fn(|j| from[j][i]));
    }
    #[inline(always)]
    fn add_scaled(self, to: &mut Words, sum: Words, group: &Group, x_sum: i32, x_scale: f32) {
        for lane in 0..LANES {
            let dot = (sum[lane] as i32).wrapping_sub((group.zeros[lane] as i32).wrapping_mul(x_sum));
            let scaled = dot as f32 * (f32::from_bits(group.scales[lane]) * x_scale);
            to[lane] = (f32::from_bits(to[lane]) + scaled).to_bits();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every method on the same words.
    #[derive(Clone, Copy)]
    struct Everything<'a>(&'a std::cell::RefCell<Vec<Words>>);

    impl Run for Everything<'_> {
        #[inline(always)]
        fn run<S: Bytes>(self, simd: S) {
            let words: [Words; LANES] = std::array::from_fn(|j| {
                std::array::from_fn(|i| 0x9e37_79b1u32.wrapping_mul((j * LANES + i + 1) as u32))
            });
            let v = words.map(|w| simd.words(&w));
            // The extremes of both sides: every sum of pairs that an instruction may form must fit.
            let (most, least) = (simd.splat(0xffff_ffff), simd.splat(0x8181_8181));
            let low = simd.and(v[3], 0x7f7f_7f7f);
            let mut results = vec![
                simd.or(v[0], v[1]),
                simd.and(v[0], 0x0f0f_00ff),
                simd.shift_right(v[2], 7),
                simd.shift_left(v[2], 5),
                simd.dot::<true>(v[4], v[0], v[1]),
                simd.dot::<true>(v[4], most, least),
                simd.dot::<true>(v[4], most, simd.splat(0x7f7f_7f7f)),
                simd.dot::<false>(v[4], low, v[1]),
                simd.dot::<false>(v[4], simd.splat(0x7f7f_7f7f), least),
            ];
            let mut turned = v;
            simd.transpose(&mut turned);
            results.extend(turned);
            let mut all = self.0.borrow_mut();
            for value in results {
                let mut to = [0; LANES];
                simd.store(value, &mut to);
                all.push(to);
            }
            // Small integers and powers of two: fused or not, the same number.
            let group = Group { scales: [0.5f32.to_bits(); LANES], zeros: std::array::from_fn(|i| i as u32) };
            let mut to = [3.0f32.to_bits(); LANES];
            simd.add_scaled(&mut to, simd.splat(-300i32 as u32), &group, -77, 0.25);
            all.push(to);
        }
    }

    #[test]
    fn instruction_sets_agree() {
        let of = |run: &dyn Fn(Everything<'_>)| {
            let results = std::cell::RefCell::default();
            run(Everything(&results));
            results.into_inner()
        };
        let expected = of(&|task| task.run(Portable));
        assert_eq!(expected[5][0], 0u32.wrapping_add(0x9e37_79b1u32.wrapping_mul(65)).wrapping_sub(4 * 255 * 127));
        #[cfg(target_arch = "x86_64")]
        {
            use super::super::x86_int8::{Avx2, Avx512Vnni};
            if let Some(simd) = Avx512Vnni::found() {
                assert_eq!(of(&|task| simd.run(task)), expected);
            }
            if let Some(simd) = Avx2::found() {
                assert_eq!(of(&|task| simd.run(task)), expected);
            }
        }
    }
}
