//! Whole layers, byte for byte as the programs that own the formats pack them. golden/make_packed.py made the checksums, and
//! says what the layers are.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bitsmith::export::{LayerSpec, exporter};
use bitsmith::op::{Quantization, quantize};
use bitsmith::{Device, Dtype, PackedTensor, QuantizedTensor, RangeRule, Rounding, Scheme, Tensor};
use serde_json::Value;
use sha2::{Digest, Sha256};

const ROWS: usize = 64;
const COLS: usize = 96;
const GROUP: usize = 32;
const GROUPS: usize = COLS / GROUP;

/// The upper half of a multiplicative hash.
fn numbers(count: usize, seed: u32) -> impl Iterator<Item = u32> {
    (0..count as u32).map(move |i| i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 16)
}

/// Codes of which the first two of each group are the smallest and the largest, scales, and zero points in the upper half.
fn layer(scheme: &str, seed: u32) -> PackedTensor {
    let scheme: Scheme = scheme.parse().unwrap();
    let most = u32::from(scheme.bits().max_code());
    let code = |(i, number): (usize, u32)| match i % GROUP {
        0 => 0,
        1 => most as u8,
        _ => (number & most) as u8,
    };
    let codes = numbers(ROWS * COLS, seed).enumerate().map(code).collect();
    let scales = numbers(ROWS * GROUPS, seed + 1).map(|number| ((number & 63) + 1) as f32 / 1024.0).collect();
    let zeros = numbers(ROWS * GROUPS, seed + 2).map(|number| ((number & (most >> 1)) + most.div_ceil(2)) as u8);
    let zeros = (!scheme.is_symmetric()).then(|| zeros.collect());
    PackedTensor::pack(&QuantizedTensor::new(scheme, ROWS, COLS, codes, scales, zeros).unwrap())
}

/// Name and checksum of each tensor that a format makes of a layer.
fn packed(format: &str, weight: &PackedTensor) -> BTreeMap<String, String> {
    let encoded = exporter(format).unwrap().encode(&LayerSpec::of("a", weight), weight, Dtype::F32).unwrap();
    let hex = |bytes: &[u8]| {
        let mut text = String::new();
        Sha256::digest(bytes).iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
        text
    };
    encoded.into_iter().map(|(name, bytes)| (name["a.".len()..].to_owned(), hex(&bytes))).collect()
}

/// Compares all tensors that the other program made.
fn check(name: &str, found: &BTreeMap<String, String>) {
    let all: Value = serde_json::from_str(include_str!("golden/packed.json")).unwrap();
    let expected = all["layers"][name].as_object().unwrap();
    assert!(!expected.is_empty());
    for (tensor, checksum) in expected {
        assert_eq!(found.get(tensor).map(String::as_str), checksum.as_str(), "{name}: {tensor}");
    }
}

#[test]
fn compressed_tensors() {
    for (scheme, seed) in [("w4g32a", 4), ("w8g32a", 8)] {
        check(&format!("compressed-tensors {}", &scheme[..2]), &packed("compressed-tensors", &layer(scheme, seed)));
    }
}

#[test]
fn gptq() {
    for (scheme, seed) in [("w2g32s", 12), ("w4g32s", 14), ("w8g32s", 18), ("w4g32a", 14)] {
        check(&format!("gptq {}{}", &scheme[..2], &scheme[5..]), &packed("gptq", &layer(scheme, seed)));
    }
}

#[test]
fn awq() {
    check("awq w4a", &packed("awq", &layer("w4g32a", 30)));
}

#[test]
fn mlx() {
    for (scheme, seed) in [("w2g32a", 42), ("w4g32a", 44), ("w8g32a", 48)] {
        check(&format!("mlx {}a", &scheme[..2]), &packed("mlx", &layer(scheme, seed)));
    }
}

/// -1, 0 and 1.
#[test]
fn bitnet() {
    let codes = numbers(ROWS * COLS, 50).map(|number| (number % 3) as u8 + 1).collect();
    let tensor = QuantizedTensor::new("w1.58ts-f32".parse().unwrap(), ROWS, COLS, codes, vec![0.5], None);
    check("bitnet", &packed("bitnet", &PackedTensor::pack(&tensor.unwrap())));
}

/// From weights: codes and scales are those of the package's own quantizer as well, which decides by a quotient in f32. None of
/// these is halfway between two codes, where its last bit counts.
#[test]
fn bitsandbytes() {
    let halves: Vec<f32> =
        numbers(ROWS * COLS, 71_000).map(|n| Dtype::F16.round((n as f32 - 32768.0) / 65536.0)).collect();
    let tensor = Tensor::from_f32(vec![ROWS, COLS], &halves).unwrap();
    let scheme: Scheme = "w8cs-f32".parse().unwrap();
    let quantization = Quantization { scheme, range: RangeRule::Restricted, rounding: Rounding::HalfEven, seed: 0 };
    let (weight, _) = pollster::block_on(quantize(&Device::cpu(), &tensor, &quantization, "a")).unwrap();
    check("bitsandbytes", &packed("bitsandbytes", &weight));
}
