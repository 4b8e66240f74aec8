//! Which variant runs: pure functions of what a device offers and what is to be computed. Each proposes only members
//! of its kernel's `variants()`.

use crate::device::Caps;
use crate::dispatch::Variant;
use crate::dtype::Dtype;
use crate::kernel::part::{InputType, Reduce};
use crate::kernel::{matmul, matmul_group, matmul_group_int8, matvec, matvec_group, matvec_group_int8};
use crate::scheme::Scheme;

/// How a workgroup reduces on this device.
pub fn reduce(caps: &Caps) -> Reduce {
    if caps.subgroups.is_some() { Reduce::Subgroup } else { Reduce::Shared }
}

/// Whether so many rows of x are for matvec; more are for matmul.
pub fn is_matvec(batch: usize) -> bool {
    batch <= matvec::MAX_BATCH
}

/// Whether products with scales of this type take activations in f16; the others take them widened to f32.
pub fn takes_half(scale: Dtype) -> bool {
    scale == Dtype::F16
}

/// How a matvec reads x and reduces.
fn reading(caps: &Caps, x: Dtype, batch: usize) -> (InputType, Reduce) {
    match x {
        Dtype::F16 if caps.f16 && caps.subgroups.is_some() && batch == 1 => (InputType::F16Native, Reduce::Subgroup),
        Dtype::F16 => (InputType::F16, Reduce::Shared),
        Dtype::F32 | Dtype::Bf16 => (InputType::F32, reduce(caps)),
    }
}

/// Dense matvec of up to 8 rows of x.
pub fn matvec(caps: &Caps, weight: Dtype, x: Dtype, batch: usize) -> Variant {
    let (x, reduce) = reading(caps, x, batch);
    matvec::variant(weight, x, reduce, batch)
}

/// Matvec of up to 8 rows of x with a packed weight; x is f16 only where [`takes_half`] says so.
pub fn matvec_group(caps: &Caps, scheme: Scheme, x: Dtype, batch: usize) -> Variant {
    let (x, reduce) = match scheme.scale_type() {
        Dtype::F16 => reading(caps, x, batch),
        Dtype::F32 | Dtype::Bf16 => (InputType::F32, Reduce::Shared),
    };
    matvec_group::variant(scheme.bits(), scheme.is_symmetric(), scheme.scale_type(), x, reduce, batch)
}

/// Matvec of up to 8 rows of int8 activations with a packed weight.
pub fn matvec_group_int8(caps: &Caps, scheme: Scheme, batch: usize) -> Variant {
    let reduce = if scheme.scale_type() == Dtype::F16 { reduce(caps) } else { Reduce::Shared };
    matvec_group_int8::variant(scheme.bits(), scheme.is_symmetric(), scheme.scale_type(), reduce, batch)
}

/// Matmul of int8 activations with a packed weight.
pub fn matmul_group_int8(scheme: Scheme) -> Variant {
    matmul_group_int8::variant(scheme.bits(), scheme.is_symmetric(), scheme.scale_type())
}

/// The size of a product: rows of x, rows of the weight, and the columns of both.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Rows of x.
    pub batch: usize,
    /// Rows of the weight.
    pub rows: usize,
    /// Columns of both.
    pub cols: usize,
}

impl Shape {
    /// The side of the cooperative matrices that are to compute the product, if any are. A tile of theirs is four sides
    /// square and steps over 16 columns or more: with less than a side of rows of x, or less than a tile of the rest, most
    /// of what is multiplied would be padding.
    fn matrix_side(self, caps: &Caps) -> Option<u32> {
        let side = caps.cooperative_matrix?;
        let (least, tile) = (side as usize, 4 * side as usize);
        let large = self.batch >= least && self.rows >= tile && self.cols >= tile;
        (large && caps.f16 && caps.subgroups.is_some()).then_some(side)
    }
}

/// Dense matmul.
pub fn matmul(caps: &Caps, weight: Dtype, x: Dtype, shape: Shape) -> Variant {
    match shape.matrix_side(caps).filter(|_| weight == Dtype::F16) {
        Some(side) => matmul::matrix_variant(x, side),
        None => matmul::variant(weight, if x == Dtype::F16 { InputType::F16 } else { InputType::F32 }),
    }
}

/// Columns that all sizes of cooperative matrices step over whole: groups of others would be padded in each step.
const WHOLE_STEPS: usize = 32;

/// Matmul with a packed weight; x is f16 only where [`takes_half`] says so. `group` is the columns of a group.
pub fn matmul_group(caps: &Caps, scheme: Scheme, x: Dtype, shape: Shape, group: usize) -> Variant {
    let whole = group >= shape.cols || group.is_multiple_of(WHOLE_STEPS);
    if let Some(side) = shape.matrix_side(caps).filter(|_| whole) {
        return matmul_group::matrix_variant(scheme.bits(), scheme.is_symmetric(), scheme.scale_type(), x, side);
    }
    let x = if x == Dtype::F16 { InputType::F16 } else { InputType::F32 };
    matmul_group::variant(scheme.bits(), scheme.is_symmetric(), scheme.scale_type(), x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::Kernel;
    use crate::kernel::matmul_group_int8::MatmulGroupInt8;
    use crate::kernel::matvec_group_int8::MatvecGroupInt8;
    use crate::kernel::{matmul::Matmul, matmul_group::MatmulGroup, matvec::Matvec, matvec_group::MatvecGroup};
    use crate::scheme::{Bits, Span, Zero};

    #[test]
    fn table() {
        let portable = Caps::portable();
        assert_eq!(reduce(&portable), Reduce::Shared);
        assert_eq!(reduce(&Caps { subgroups: Some((32, 32)), ..portable }), Reduce::Subgroup);
    }

    #[test]
    fn products_by_device() {
        let [plain, half, subgroups, both, _] = devices();
        for (caps, x, batch, expected) in [
            (&plain, Dtype::F32, 1, "x_f32.w_f16.reduce_shared.BATCH=1.ROWS=4.WG=64"),
            (&plain, Dtype::F32, 2, "x_f32.w_f16.reduce_shared.BATCH=8.ROWS=1.WG=64"),
            (&plain, Dtype::F16, 1, "x_f16.w_f16.reduce_shared.BATCH=1.ROWS=4.WG=64"),
            (&half, Dtype::F16, 1, "x_f16.w_f16.reduce_shared.BATCH=1.ROWS=4.WG=64"),
            (&subgroups, Dtype::F32, 1, "x_f32.w_f16.reduce_subgroup.BATCH=1.ROWS=4.WG=64"),
            (&subgroups, Dtype::F16, 8, "x_f16.w_f16.reduce_shared.BATCH=8.ROWS=1.WG=64"),
            (&both, Dtype::F16, 1, "x_f16_native.w_f16.reduce_subgroup.BATCH=1.ROWS=4.WG=64"),
            (&both, Dtype::F16, 8, "x_f16.w_f16.reduce_shared.BATCH=8.ROWS=1.WG=64"),
            (&both, Dtype::F32, 8, "x_f32.w_f16.reduce_subgroup.BATCH=8.ROWS=1.WG=64"),
        ] {
            assert_eq!(matvec(caps, Dtype::F16, x, batch).to_string(), expected);
        }
    }

    #[test]
    fn every_proposal_exists_and_runs() {
        fn assert_member<K: Kernel>(variant: &Variant, caps: &Caps) {
            let name = variant.to_string();
            assert!(K::variants().iter().any(|v| v.to_string() == name), "{} has no {name}", K::NAME);
            assert!(caps.meet(variant.needs()), "{name} does not run on {caps:?}");
        }
        for caps in devices() {
            for x in [Dtype::F32, Dtype::F16] {
                for weight in Dtype::ALL {
                    (1..=8).for_each(|n| assert_member::<Matvec>(&matvec(&caps, weight, x, n), &caps));
                    for shape in [SMALL, LARGE] {
                        assert_member::<Matmul>(&matmul(&caps, weight, x, shape), &caps);
                    }
                }
                for scheme in schemes().filter(|s| x == Dtype::F32 || takes_half(s.scale_type())) {
                    (1..=8).for_each(|n| assert_member::<MatvecGroup>(&matvec_group(&caps, scheme, x, n), &caps));
                    for shape in [SMALL, LARGE] {
                        assert_member::<MatmulGroup>(&matmul_group(&caps, scheme, x, shape, 128), &caps);
                    }
                }
            }
            for scheme in schemes() {
                (1..=8).for_each(|n| assert_member::<MatvecGroupInt8>(&matvec_group_int8(&caps, scheme, n), &caps));
                assert_member::<MatmulGroupInt8>(&matmul_group_int8(scheme), &caps);
            }
        }
    }

    const SMALL: Shape = Shape { batch: 9, rows: 9, cols: 9 };
    const LARGE: Shape = Shape { batch: 512, rows: 4096, cols: 4096 };

    #[test]
    fn cooperative_matrices_take_large_products_of_what_f16_holds() {
        let [_, _, _, both, matrices] = devices();
        let small = Caps { cooperative_matrix: Some(8), ..matrices.clone() };
        let unable = [Caps { f16: false, ..matrices.clone() }, Caps { subgroups: None, ..matrices.clone() }, both];
        let least = Shape { batch: 16, rows: 64, cols: 64 };
        let dense = |caps: &Caps, weight, x, shape| matmul(caps, weight, x, shape).to_string();
        for (caps, shape, expected) in [
            (&matrices, LARGE, Some(16)),
            (&matrices, least, Some(16)),
            (&small, Shape { batch: 8, rows: 32, cols: 32 }, Some(8)),
            (&matrices, SMALL, None),
            (&matrices, Shape { batch: 15, ..least }, None),
            (&matrices, Shape { rows: 63, ..least }, None),
            (&matrices, Shape { cols: 63, ..least }, None),
            (&unable[0], LARGE, None),
            (&unable[1], LARGE, None),
            (&unable[2], LARGE, None),
        ] {
            let by = |x: &str, plain: &str| match expected {
                Some(side) => format!("{x}.w_f16.matrix_{side}"),
                None => format!("{plain}.w_f16"),
            };
            assert_eq!(dense(caps, Dtype::F16, Dtype::F32, shape), by("x_f32", "x_f32"), "{shape:?}");
            assert_eq!(dense(caps, Dtype::F16, Dtype::F16, shape), by("x_f16_native", "x_f16"), "{shape:?}");
            assert_eq!(dense(caps, Dtype::Bf16, Dtype::F32, shape), "x_f32.w_bf16", "{shape:?}");
            assert_eq!(dense(caps, Dtype::F32, Dtype::F32, shape), "x_f32.w_f32", "{shape:?}");
            for (group, whole) in [(128, true), (32, true), (shape.cols, true), (16, false), (17, false)] {
                let scheme = Scheme::new(Bits::ALL[2], Span::Group(16), Zero::Stored);
                let found = matmul_group(caps, scheme, Dtype::F32, shape, group);
                let side = expected.filter(|_| whole || group >= shape.cols);
                assert_eq!(found.needs().cooperative_matrix, side, "{shape:?} groups of {group}");
            }
        }
    }

    /// Portable, with f16, with subgroups, with both, with cooperative matrices too.
    fn devices() -> [Caps; 5] {
        let subgroups = Some((32, 32));
        let offers = [(false, None), (true, None), (false, subgroups), (true, subgroups), (true, subgroups)];
        let mut devices = offers.map(|(f16, subgroups)| Caps { f16, subgroups, ..Caps::portable() });
        devices[4].cooperative_matrix = Some(16);
        devices
    }

    fn schemes() -> impl Iterator<Item = Scheme> {
        let zeros = [Zero::Symmetric, Zero::Stored];
        let each = move |b| zeros.map(|z| Dtype::ALL.map(|s| Scheme::new(b, Span::Channel, z).with_scale_type(s)));
        Bits::ALL.into_iter().flat_map(each).flatten()
    }
}
