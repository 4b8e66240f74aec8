//! Fast CPU kernels against their twins at shapes that the conformance cases are too small for: several tiles and tasks,
//! groups that share words or begin within a tile. And the same bytes whatever the number of threads.

use bitsmith::Random;
use bitsmith::check::Tolerance;
use bitsmith::dispatch::{Access, Bindings, Kernel, KernelSpec, Variant, View};
use bitsmith::kernel::group_range::{self, GroupRange, Lanes};
use bitsmith::kernel::part::{InputType, Reduce};
use bitsmith::kernel::product::{DenseParams, GroupParams};
use bitsmith::kernel::{matmul, matmul_group, matvec, matvec_group};
use bitsmith::{Bits, Dtype, Packing};

/// Weights times activations in these tests: 255 steps of 0.02 at most, against numbers up to 6.
const LARGEST_TERM: f32 = 32.0;
/// What the output holds before; it must survive where the kernel has nothing to write.
const UNTOUCHED: u32 = 0x7fc0_dead;

struct Call {
    kernel: &'static KernelSpec,
    variant: Variant,
    params: Vec<u8>,
    inputs: Vec<Vec<u32>>,
    outputs: Vec<usize>,
}

impl Call {
    fn run(&self, fast: bool) -> Vec<Vec<u32>> {
        let mut memory: Vec<Vec<u32>> = self.outputs.iter().map(|n| vec![UNTOUCHED; *n]).collect();
        let (mut outputs, mut inputs) = (memory.iter_mut(), self.inputs.iter());
        let view = |access: &Access| match access {
            Access::Read => View::Read(inputs.next().expect("an input for each binding that is read")),
            _ => View::Write(outputs.next().expect("an output for each binding that is written")),
        };
        let run = if fast { self.kernel.fast.expect("the kernel has a fast version") } else { self.kernel.run };
        run(&self.params, &self.variant, Bindings::new(self.kernel.access.iter().map(view)));
        memory
    }

    fn check(&self, label: &str, tolerance: Tolerance) {
        let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("a pool of threads");
        let found = pool(1).install(|| self.run(true));
        assert_eq!(found, pool(3).install(|| self.run(true)), "{label}: the thread count changes bits");
        for (found, expected) in found.iter().zip(self.run(false)) {
            for (i, (f, e)) in found.iter().zip(&expected).enumerate() {
                let both_nan = f32::from_bits(*e).is_nan() && f32::from_bits(*f).is_nan() && *f != UNTOUCHED;
                assert!(
                    tolerance.accepts(*e, *f) || both_nan,
                    "{label}: {i} is {}, not {}",
                    f32::from_bits(*f),
                    f32::from_bits(*e)
                );
            }
        }
    }
}

fn u(n: usize) -> u32 {
    u32::try_from(n).expect("test shapes are small")
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytemuck::pod_collect_to_vec(&bytes)
}

/// Results go behind 3 elements, into rows longer by 5.
const OFFSET: usize = 3;
const GAP: usize = 5;

fn group(batch: usize, rows: usize, cols: usize, size: usize, bits: u8, symmetric: bool) {
    group_of(batch, rows, cols, size, bits, symmetric, &[]);
}

/// With other activations in these columns of the last row of x; their weights are zero.
fn group_of(batch: usize, rows: usize, cols: usize, size: usize, bits: u8, symmetric: bool, other: &[(usize, f32)]) {
    let bits = Bits::new(bits).expect("a width there is");
    let mut random = Random::new(u(rows * cols + batch));
    let mut codes: Vec<u8> =
        (0..rows * cols).map(|_| random.below(u32::from(bits.max_code()) + 1).to_le_bytes()[0]).collect();
    let per_row = cols.div_ceil(size);
    let scales = random.normals(rows * per_row).iter().map(|s| s * 0.02).collect::<Vec<_>>();
    let zeros: Vec<u8> =
        (0..rows * per_row).map(|_| random.below(u32::from(bits.max_code()) + 1).to_le_bytes()[0]).collect();
    let scales = words(&Dtype::F16.encode(&scales));
    let params = GroupParams {
        batch: u(batch),
        rows: u(rows),
        cols: u(cols),
        group: u(size),
        groups_per_row: u(per_row),
        words_per_row: u(Packing::Rows.words(1, cols, bits)),
        out_offset: u(OFFSET),
        out_stride: u(rows + GAP),
        bias: u(batch % 2),
    };
    let mut x = random.normals(batch * cols);
    for (col, other) in other {
        x[(batch - 1) * cols + col] = *other;
        for row in 0..rows {
            let middle = bits.max_code() / 2 + 1;
            codes[row * cols + col] = if symmetric { middle } else { zeros[row * per_row + col / size] };
        }
    }
    let codes = Packing::Rows.pack(&codes, rows, cols, bits).expect("as many codes as the shape has");
    let x = bytemuck::cast_vec(x);
    let zeros = if symmetric { scales.clone() } else { words(&zeros) };
    let bias = if batch % 2 == 1 { bytemuck::cast_vec(random.normals(OFFSET + rows)) } else { vec![0] };
    let (kernel, variant) = if batch <= matvec::MAX_BATCH {
        let variant = matvec_group::variant(bits, symmetric, Dtype::F16, InputType::F32, Reduce::Shared, batch);
        (matvec_group::MatvecGroup::SPEC, variant)
    } else {
        let variant = matmul_group::variant(bits, symmetric, Dtype::F16, InputType::F32);
        (matmul_group::MatmulGroup::SPEC, variant)
    };
    let call = Call {
        kernel,
        variant,
        params: bytemuck::bytes_of(&params).to_vec(),
        inputs: vec![x, codes, scales, zeros, bias],
        outputs: vec![OFFSET + batch * (rows + GAP)],
    };
    let label = format!("{batch} x [{rows}, {cols}] w{bits}g{size}, symmetric {symmetric}");
    call.check(&label, Tolerance::sum(cols, LARGEST_TERM));
}

#[test]
fn group_products() {
    for bits in [2, 3, 4, 8] {
        for symmetric in [true, false] {
            // One row, several passes, tiles; whole words, groups that share words, that begin within a tile; one group.
            for batch in [1, 2, 3, 5, 6, 7, 8, 9, 20, 75] {
                for (rows, cols, size) in [(5, 1100, 32), (70, 640, 100), (37, 1024, 384), (6, 777, 777)] {
                    group(batch, rows, cols, size, bits, symmetric);
                }
            }
            group(1, 600, 700, 128, bits, symmetric);
            group(80, 600, 200, 64, bits, symmetric);
        }
    }
}

/// Activations that are large beside the others, so that rounding to a share of them would show, or not finite.
#[test]
fn group_products_of_outliers() {
    for (bits, symmetric) in [2, 3, 4, 8].into_iter().flat_map(|bits| [(bits, true), (bits, false)]) {
        for other in [100.0, 1e3, -1e5, 1e10, f32::MIN_POSITIVE, f32::INFINITY, f32::NAN] {
            for batch in [1, 2, 9, 75] {
                group_of(batch, 6, 1100, 32, bits, symmetric, &[(5, other), (900, other)]);
            }
        }
    }
}

#[test]
fn dense_products() {
    for dtype in Dtype::ALL {
        for batch in [1, 2, 3, 4, 5, 6, 7, 8, 9, 23, 24, 75] {
            for size in [(1, 1), (5, 15), (70, 640), (600, 531)] {
                dense(dtype, batch, size, OFFSET, GAP);
            }
        }
    }
}

/// Results that lie side by side, of many rows of x with a small weight.
#[test]
fn dense_products_of_many_rows() {
    for dtype in Dtype::ALL {
        for size in [(1, 1), (5, 15), (70, 640)] {
            dense(dtype, 64, size, 0, 0);
            dense(dtype, 1301, size, 0, 0);
        }
    }
}

fn dense(dtype: Dtype, batch: usize, (rows, cols): (usize, usize), offset: usize, gap: usize) {
    let mut random = Random::new(u(rows * cols + batch));
    let w = random.stored(dtype, rows * cols, 0.3);
    let x = bytemuck::cast_vec(random.normals(batch * cols));
    let params =
        DenseParams { batch: u(batch), rows: u(rows), cols: u(cols), out_offset: u(offset), out_stride: u(rows + gap) };
    let (kernel, variant) = if batch <= matvec::MAX_BATCH {
        (matvec::Matvec::SPEC, matvec::variant(dtype, InputType::F32, Reduce::Shared, batch))
    } else {
        (matmul::Matmul::SPEC, matmul::variant(dtype, InputType::F32))
    };
    let call = Call {
        kernel,
        variant,
        params: bytemuck::bytes_of(&params).to_vec(),
        inputs: vec![x, w],
        outputs: vec![offset + batch * (rows + gap)],
    };
    call.check(&format!("{batch} x [{rows}, {cols}] {dtype}"), Tolerance::sum(cols, LARGEST_TERM));
}

/// One group for a whole tensor is split over threads.
#[test]
fn ranges_of_large_groups() {
    for dtype in Dtype::ALL {
        let n = (1 << 19) + 77;
        let params = group_range::Params {
            rows: 1,
            cols: u(n),
            group: u(n),
            groups_per_row: 1,
            bits: 4,
            symmetric: 0,
            rule: 0,
            scale_type: 1,
        };
        let call = Call {
            kernel: GroupRange::SPEC,
            variant: group_range::variant(dtype, Lanes::All),
            params: bytemuck::bytes_of(&params).to_vec(),
            inputs: vec![Random::new(5).stored(dtype, n, 1.0)],
            outputs: vec![1, 1],
        };
        call.check(dtype.name(), Tolerance::EXACT);
    }
}
