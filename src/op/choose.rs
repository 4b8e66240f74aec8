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

/// Dense matmul.
pub fn matmul(weight: Dtype, x: Dtype) -> Variant {
    matmul::variant(weight, if x == Dtype::F16 { InputType::F16 } else { InputType::F32 })
}

/// Matmul with a packed weight; x is f16 only where [`takes_half`] says so.
pub fn matmul_group(scheme: Scheme, x: Dtype) -> Variant {
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
        let [plain, half, subgroups, both] = devices();
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
                    assert_member::<Matmul>(&matmul(weight, x), &caps);
                }
                for scheme in schemes().filter(|s| x == Dtype::F32 || takes_half(s.scale_type())) {
                    (1..=8).for_each(|n| assert_member::<MatvecGroup>(&matvec_group(&caps, scheme, x, n), &caps));
                    assert_member::<MatmulGroup>(&matmul_group(scheme, x), &caps);
                }
            }
            for scheme in schemes() {
                (1..=8).for_each(|n| assert_member::<MatvecGroupInt8>(&matvec_group_int8(&caps, scheme, n), &caps));
                assert_member::<MatmulGroupInt8>(&matmul_group_int8(scheme), &caps);
            }
        }
    }

    /// Portable, with f16, with subgroups, with both.
    fn devices() -> [Caps; 4] {
        let subgroups = Some((32, 32));
        [(false, None), (true, None), (false, subgroups), (true, subgroups)].map(|(f16, subgroups)| Caps {
            f16,
            subgroups,
            ..Caps::portable()
        })
    }

    fn schemes() -> impl Iterator<Item = Scheme> {
        let zeros = [Zero::Symmetric, Zero::Stored];
        let each = move |b| zeros.map(|z| Dtype::ALL.map(|s| Scheme::new(b, Span::Channel, z).with_scale_type(s)));
        Bits::ALL.into_iter().flat_map(each).flatten()
    }
}
