//! Where bits lie: words worked out by hand or made by other tools, and packing as a bijection over widths and shapes.

use bitsmith::scheme::nearest_integer;
use bitsmith::{Bits, PackedTensor, Packing, QuantizedTensor, RangeRule, Rounding, Scheme};
use proptest::prelude::*;

/// The 32 values of all vectors: -2, 0.3125, -1.375, 0.9375, ….
fn ramp() -> Vec<f32> {
    (0..32).map(|i| ((i * 37 % 64) as f32 - 32.0) / 16.0).collect()
}

fn min_max(values: &[f32]) -> (f32, f32) {
    values.iter().fold((f32::MAX, f32::MIN), |(lo, hi), v| (lo.min(*v), hi.max(*v)))
}

/// Quantizes one group in f64, given its scale and zero point: the definition, with no care for devices.
fn naive_codes(values: &[f32], scale: f32, zero: f64, bits: u8) -> Vec<u8> {
    let max = f64::from(2_u32.pow(bits.into()) - 1);
    let code = |value: &f32| ((f64::from(*value) / f64::from(scale)).round_ties_even() + zero).clamp(0.0, max) as u8;
    values.iter().map(code).collect()
}

fn pack_row(codes: &[u8], bits: u8) -> Vec<u32> {
    Packing::Rows.pack(codes, 1, codes.len(), Bits::new(bits).unwrap()).unwrap()
}

/// Codes by this crate's own arithmetic.
fn codes(values: &[f32], scale: f32, zero: u8, bits: Bits) -> Vec<u8> {
    let steps = |v: &f32| nearest_integer(*v, scale, Rounding::HalfEven, 0.0) + i32::from(zero);
    values.iter().map(|v| steps(v).clamp(0, bits.max_code().into()) as u8).collect()
}

#[test]
fn word_of_eight_4_bit_codes() {
    assert_eq!(pack_row(&[0, 1, 2, 3, 4, 5, 6, 7], 4), [0x7654_3210]);
    assert_eq!(pack_row(&[0, 1, 2, 3].repeat(4), 2), [0xe4e4_e4e4]);
}

#[test]
fn symmetric_4_bit_as_compressed_tensors_makes_it() {
    let (values, scheme) = (ramp(), "w4g32s-f32".parse::<Scheme>().unwrap());
    let (min, max) = min_max(&values);
    let (scale, zero) = RangeRule::TwoNMinusOne.scale_and_zero(min, max, scheme);
    assert_eq!((scale, zero), (0.266_666_68, 8));
    let codes = codes(&values, scale, zero, scheme.bits());
    assert_eq!(codes, naive_codes(&values, scale, 8.0, 4));
    assert_eq!(pack_row(&codes, 4), [0x18e5_c391, 0xb28f_6c4a, 0x5b39_f7d4, 0xe6c3_a17e]);
}

#[test]
fn asymmetric_4_bit_with_an_f16_scale() {
    let (values, scheme) = (ramp(), "w4g32a".parse::<Scheme>().unwrap());
    let (min, max) = min_max(&values);
    let (scale, zero) = RangeRule::FullRange.scale_and_zero(min, max, scheme);
    assert_eq!((scale, zero), (0.262_451_17, 8));
    let codes = codes(&values, scale, zero, scheme.bits());
    let expected =
        [0, 9, 3, 12, 5, 14, 8, 1, 10, 3, 12, 6, 15, 8, 2, 11, 4, 13, 7, 15, 9, 3, 11, 5, 14, 7, 1, 10, 3, 12, 6, 14];
    assert_eq!(codes, expected);
    assert_eq!(codes, naive_codes(&values, scale, 8.0, 4));
    assert_eq!(pack_row(&codes, 4), [0x18e5_c390, 0xb28f_6c3a, 0x5b39_f7d4, 0xe6c3_a17e]);
}

/// MLX decodes `scale * code + bias`; its words are rows packed like ours.
#[test]
fn mlx_affine_words() {
    for (bits, scale, bias, words) in [
        (4, 0.25_f32, -2.0_f32, &[0x18e5_c290_u32, 0xb28f_6c3a, 0x5c29_f6d4, 0xf6c3_a07e][..]),
        (2, 1.0, -2.0, &[0xcb76_2dd8, 0xdd8b_76ed]),
    ] {
        let shifted: Vec<f32> = ramp().iter().map(|v| v - bias).collect();
        let codes = codes(&shifted, scale, 0, Bits::new(bits).unwrap());
        assert_eq!(codes, naive_codes(&shifted, scale, 0.0, bits));
        assert_eq!(pack_row(&codes, bits), words, "{bits} bits");
    }
}

/// 32 3-bit codes take three words: word 0 is codes 0-9 and the low 2 bits of code 10; word 1 the high bit of
/// code 10, codes 11-20 and the low bit of code 21; word 2 the high 2 bits of code 21 and codes 22-31.
#[test]
fn three_bit_codes_straddle_words() {
    let codes: Vec<u8> = (0..32).map(|i| (i * 5 + 3) % 8).collect();
    let at = |range: std::ops::Range<usize>, start: u32| {
        range.enumerate().fold(0, |word, (i, code)| word | u32::from(codes[code]) << (start + 3 * i as u32))
    };
    let (ten, twenty_one) = (u32::from(codes[10]), u32::from(codes[21]));
    let word0 = at(0..10, 0) | (ten & 3) << 30;
    let word1 = ten >> 2 | at(11..21, 1) | (twenty_one & 1) << 31;
    let word2 = twenty_one >> 1 | at(22..32, 2);
    assert_eq!(pack_row(&codes, 3), [word0, word1, word2]);
    assert_eq!(pack_row(&[7; 11], 3), [0xffff_ffff, 1], "the tail of a row is zero bits");
}

#[test]
fn columns_pack_along_rows() {
    // 9 rows of 2 columns: column 0 holds 0..9, column 1 holds 15; rows 0-7 in the first words, row 8 in the second.
    let codes: Vec<u8> = (0..9).flat_map(|row| [row, 15]).collect();
    let words = Packing::Columns.pack(&codes, 9, 2, Bits::new(4).unwrap()).unwrap();
    assert_eq!(words, [0x7654_3210, 0xffff_ffff, 0x8, 0xf]);
}

#[test]
fn wrong_lengths_are_errors() {
    for packing in [Packing::Rows, Packing::Columns] {
        for bits in Bits::ALL {
            assert!(packing.pack(&[0; 5], 2, 3, bits).is_err());
            assert!(packing.unpack(&vec![0; packing.words(2, 3, bits) + 1], 2, 3, bits).is_err());
        }
    }
}

fn bits() -> impl Strategy<Value = Bits> {
    prop::sample::select(Bits::ALL.to_vec())
}

proptest! {
    #[test]
    fn packing_is_a_bijection(bits in bits(), rows in 0..40_usize, cols in 0..80_usize, seed: u32) {
        let random = |i: usize| (bitsmith::scheme::uniform(seed, i as u32) * 256.0) as u8 & bits.max_code();
        let codes: Vec<u8> = (0..rows * cols).map(random).collect();
        for packing in [Packing::Rows, Packing::Columns] {
            let words = packing.pack(&codes, rows, cols, bits).unwrap();
            prop_assert_eq!(words.len(), packing.words(rows, cols, bits));
            prop_assert_eq!(&packing.unpack(&words, rows, cols, bits).unwrap(), &codes);
            let ones: u32 = codes.iter().map(|code| code.count_ones()).sum();
            prop_assert_eq!(words.iter().map(|word| word.count_ones()).sum::<u32>(), ones, "padding is zero");
        }
        let turned: Vec<u8> = (0..rows * cols).map(|i| codes[i % rows * cols + i / rows]).collect();
        if rows > 0 && cols > 0 {
            let rows_words = Packing::Rows.pack(&turned, cols, rows, bits).unwrap();
            let (words, stride) = (Packing::Columns.pack(&codes, rows, cols, bits).unwrap(), rows_words.len() / cols);
            for (i, word) in rows_words.iter().enumerate() {
                prop_assert_eq!(*word, words[i % stride * cols + i / stride], "columns are rows of the transpose");
            }
        }
    }

    #[test]
    fn packed_tensors_unpack_to_themselves(bits in bits(), cols in 1..90_usize, rows in 1..9_usize, span in 0..4_usize) {
        let span = ["t", "c", "g16", "g32"][span];
        let scheme: Scheme = format!("w{bits}{span}a-f32").parse().unwrap();
        let groups = scheme.groups(rows, cols).count();
        let codes = (0..rows * cols).map(|i| (i * 7 % 256) as u8 & bits.max_code()).collect();
        let scales = (0..groups).map(|i| i as f32 - 1.5).collect();
        let zeros = (0..groups).map(|i| (i * 3 % 256) as u8 & bits.max_code()).collect();
        let tensor = QuantizedTensor::new(scheme, rows, cols, codes, scales, Some(zeros)).unwrap();
        let packed = PackedTensor::pack(&tensor);
        prop_assert!(packed.check().is_ok());
        prop_assert_eq!(packed.unpack().unwrap(), tensor);
    }
}
