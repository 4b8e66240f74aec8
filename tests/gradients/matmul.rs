//! Products with dense and quantized weights.

use bitsmith::op::{self, DenseWeight, GroupWeight};
use bitsmith::{PackedTensor, QuantizedTensor, Random, Tensor};

use crate::check::{Input, check};

#[test]
fn dense_products() {
    let mut random = Random::new(2);
    for batch in [1, 3, 11] {
        let x = Input::normal(batch, 7, 1.0, &mut random);
        let w = Input::normal(5, 7, 0.5, &mut random);
        check("x W^T", &[x, w], |rec, x| op::dense(rec, &x[0], &DenseWeight::from_values(x[1].clone())?));
    }
}

#[test]
fn weights_in_parts() {
    let mut random = Random::new(3);
    let values = random.normals(5 * 7);
    let tensor = Tensor::from_f32(vec![5, 7], &values).unwrap();
    // Two rows a part.
    check("x W^T in parts", &[Input::normal(3, 7, 1.0, &mut random)], |rec, x| {
        let w = DenseWeight::upload_in_parts(rec.device(), &tensor, 2 * 7 * 4)?;
        op::dense(rec, &x[0], &w)
    });
}

#[test]
fn quantized_products() {
    let mut random = Random::new(4);
    let codes = (0..3 * 20).map(|i| (i * 7 % 16) as u8).collect();
    let tensor = QuantizedTensor::new("w4g16s".parse().unwrap(), 3, 20, codes, vec![0.25; 6], None).unwrap();
    check("quantized", &[Input::normal(2, 20, 1.0, &mut random)], |rec, x| {
        let w = GroupWeight::upload(rec.device(), &PackedTensor::pack(&tensor))?;
        op::group(rec, &x[0], &w)
    });
    let inputs = [Input::normal(2, 20, 1.0, &mut random), Input::normal(1, 3, 1.0, &mut random)];
    check("quantized, with a bias", &inputs, |rec, x| {
        let w = GroupWeight::upload(rec.device(), &PackedTensor::pack(&tensor))?;
        op::group_with_bias(rec, &x[0], &w, Some(&x[1].buffer))
    });
    let bias = random.normals(3);
    check("quantized, with a bias that is not watched", &inputs[..1], |rec, x| {
        let w = GroupWeight::upload(rec.device(), &PackedTensor::pack(&tensor))?;
        let bias = rec.device().upload(&bias)?;
        op::group_with_bias(rec, &x[0], &w, Some(&bias))
    });
}
