//! Windows of images: cut out, pooled, and convolved; scale and shift of channels.

use bitsmith::Random;
use bitsmith::op::{self, ImageShape, Images, Window};

use crate::check::{Input, check};

const IMAGE: ImageShape = ImageShape { channels: 2, height: 5, width: 4 };
const WINDOWS: [Window; 3] = [
    Window { kernel: [3, 2], stride: 1, padding: 0 },
    Window { kernel: [3, 3], stride: 2, padding: 1 },
    Window { kernel: [2, 2], stride: 2, padding: 0 },
];

#[test]
fn patches() {
    let mut random = Random::new(1);
    for window in WINDOWS {
        let rows = Input::normal(2, 40, 1.0, &mut random);
        check("im2col", &[rows], |rec, x| op::im2col(rec, &Images::from_rows(x[0].clone(), IMAGE)?, &window));
        let pixels = Input::normal(40, 2, 1.0, &mut random);
        check("im2col of pixels", &[pixels], |rec, x| {
            op::im2col(rec, &Images::from_pixels(x[0].clone(), IMAGE)?, &window)
        });
    }
    let pixels = Input::normal(40, 2, 1.0, &mut random);
    check("flatten", &[pixels], |rec, x| Images::from_pixels(x[0].clone(), IMAGE)?.flatten(rec));
}

/// Values that are apart: a step of a difference changes no order.
fn apart(rows: usize, cols: usize, random: &mut Random) -> Input {
    let mut values: Vec<f32> = (0..rows * cols).map(|i| i as f32 * 0.05 - 2.0).collect();
    random.shuffle(&mut values);
    Input { rows, cols, values }
}

#[test]
fn pools() {
    let mut random = Random::new(2);
    for window in WINDOWS {
        let (rows, pixels) = (apart(2, 40, &mut random), apart(40, 2, &mut random));
        check("max_pool2d", std::slice::from_ref(&rows), |rec, x| {
            let images = Images::from_rows(x[0].clone(), IMAGE)?;
            Ok(op::max_pool2d(rec, &images, &window)?.values().clone())
        });
        check("max_pool2d of pixels", std::slice::from_ref(&pixels), |rec, x| {
            let images = Images::from_pixels(x[0].clone(), IMAGE)?;
            Ok(op::max_pool2d(rec, &images, &window)?.values().clone())
        });
        check("avg_pool2d", &[rows], |rec, x| {
            let images = Images::from_rows(x[0].clone(), IMAGE)?;
            Ok(op::avg_pool2d(rec, &images, &window)?.values().clone())
        });
    }
}

#[test]
fn scale_and_shift() {
    let mut random = Random::new(3);
    let (scale, shift) = (random.normals(5), random.normals(5));
    check("scale_shift", &[Input::normal(3, 5, 1.0, &mut random)], |rec, x| {
        let (scale, shift) = (rec.device().upload(&scale)?, rec.device().upload(&shift)?);
        op::scale_shift(rec, &x[0], &scale, &shift)
    });
}

#[test]
fn a_convolution_of_a_convolution() {
    let mut random = Random::new(4);
    let inputs = [
        Input::normal(2, 40, 1.0, &mut random),
        Input::normal(3, 2 * 6, 0.5, &mut random),
        Input::normal(2, 3 * 4, 0.5, &mut random),
    ];
    check("convolutions", &inputs, |rec, x| {
        let patches = op::im2col(rec, &Images::from_rows(x[0].clone(), IMAGE)?, &WINDOWS[0])?;
        let y = op::dense(rec, &patches, &op::DenseWeight::from_values(x[1].clone())?)?;
        let between = Images::from_pixels(y, ImageShape { channels: 3, height: 3, width: 3 })?;
        let patches = op::im2col(rec, &between, &Window::square(2, 1, 0))?;
        op::dense(rec, &patches, &op::DenseWeight::from_values(x[2].clone())?)
    });
}
