//! Which matrix products go to cuBLASLt: those in the form that it takes, where it is there and the work is large. All else,
//! and whatever it refuses, is for the kernel.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cudarc::driver::sys::CUdeviceptr;

use super::context::{Context, CublasLt, Layout, Plan, Shape};
use crate::device::buffer::Buffer;
use crate::dispatch::{Operand, Product};
use crate::dtype::Dtype;
use crate::error::Result;

/// Where a library may be that is used instead of the system's cuBLASLt. A path at which there is none, such as `none`, has
/// the kernels compute all products.
pub const CUBLASLT_VARIABLE: &str = "BITSMITH_CUBLASLT";

/// Multiplications from which on the library is asked: 128 rows, columns and terms. Below, a launch is most of the time.
const LEAST: u64 = 1 << 21;

/// The largest alignment that the library tells from smaller ones, as a power of two.
const MOST_ALIGNED: u32 = 8;

/// Shapes whose plans are kept. A plan takes about a kilobyte.
const KEPT: usize = 512;

/// The products of one device.
#[derive(Debug)]
pub(super) struct Products {
    candidates: Vec<PathBuf>,
    least: u64,
    /// Loaded with the first product; nothing if that fails.
    library: OnceLock<Option<Mutex<Loaded>>>,
    computed: AtomicU64,
}

/// The library, and what it answered for each shape: nothing for one that it refused.
#[derive(Debug)]
struct Loaded {
    // Goes before the library that it is of.
    plans: HashMap<Shape, Option<Plan>>,
    library: CublasLt,
}

impl Products {
    /// Those of the first of these libraries that works, of large work.
    pub(super) fn new(candidates: Vec<PathBuf>) -> Self {
        Self { candidates, least: LEAST, library: OnceLock::new(), computed: AtomicU64::new(0) }
    }

    /// The same of all work of at least so many multiplications.
    pub(super) fn of_at_least(candidates: Vec<PathBuf>, least: u64) -> Self {
        Self { least, ..Self::new(candidates) }
    }

    /// How many the library has computed.
    pub(super) fn computed(&self) -> u64 {
        self.computed.load(Relaxed)
    }

    /// Whether the library may be asked for a product.
    pub(super) fn take(&self, product: &Product) -> bool {
        let large = product.multiplications() >= self.least;
        let there = !self.candidates.is_empty() && !matches!(self.library.get(), Some(None));
        large && there && shape(product, [0; 3]).is_some()
    }

    /// Appends a product of x and w into out, the addresses, if the library takes it, and tells whether it did.
    /// `workspace` gives it memory, which later work may have at once: all runs in one stream.
    pub(super) fn run(
        &self,
        context: &Arc<Context>,
        product: &Product,
        bindings: [CUdeviceptr; 3],
        workspace: impl FnOnce(usize) -> Result<(Buffer, CUdeviceptr)>,
    ) -> bool {
        let bytes = product.dtype.bytes() as u64;
        let firsts =
            [u64::from(product.x.first) * bytes, u64::from(product.w.first) * bytes, u64::from(product.out_first) * 4];
        let [x, w, out] = [0, 1, 2].map(|i| bindings[i] + firsts[i]);
        let Some(shape) = shape(product, [w, x, out]) else { return false };
        let Some(loaded) = self.library.get_or_init(|| self.load(context)) else { return false };
        let Loaded { plans, library } = &mut *loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if plans.len() == KEPT && !plans.contains_key(&shape) {
            plans.clear();
        }
        let plan = plans.entry(shape).or_insert_with(|| {
            library
                .plan(&shape)
                .inspect_err(|why| tracing::debug!(?shape, "cuBLASLt does not take a product: {why}"))
                .ok()
        });
        let Some(known) = plan else { return false };
        let memory = match known.workspace {
            0 => Ok(None),
            bytes => workspace(bytes).map(Some),
        };
        // There may be room another time.
        let Ok(memory) = memory.inspect_err(|why| tracing::debug!(?shape, "no workspace for cuBLASLt: {why}")) else {
            return false;
        };
        let address = memory.as_ref().map_or(0, |(_, address)| *address);
        match library.run(known, [w, x, out], address) {
            Ok(()) => drop(self.computed.fetch_add(1, Relaxed)),
            Err(why) => {
                tracing::debug!(?shape, "cuBLASLt fails, its products of this shape are left to the kernel: {why}");
                *plan = None;
            }
        }
        plan.is_some()
    }

    fn load(&self, context: &Arc<Context>) -> Option<Mutex<Loaded>> {
        let library = CublasLt::load(context, &self.candidates);
        let library = library.inspect_err(|why| tracing::debug!("kernels compute all products, no cuBLASLt: {why}"));
        Some(Mutex::new(Loaded { plans: HashMap::new(), library: library.ok()? }))
    }
}

/// A product as the library sees it, by columns: w is its first operand and x the second, since the result has a column for
/// each row of x. Nothing if an operand is neither by rows nor by columns. `addresses` are those of w, x and the result.
fn shape(product: &Product, addresses: [CUdeviceptr; 3]) -> Option<Shape> {
    let Product { batch, rows, cols, dtype, x, w, out_row, accumulate, .. } = *product;
    let ((w, w_by_terms), (x, x_by_terms)) = (matrix(w, rows, cols)?, matrix(x, batch, cols)?);
    let a = Layout { transposed: w_by_terms, ..w };
    let b = Layout { transposed: !x_by_terms, ..x };
    let c = Layout { rows, cols: batch, column: out_row, transposed: false };
    let takes = matches!(dtype, Dtype::F32 | Dtype::F16) && batch.min(rows).min(cols) > 0 && out_row >= rows;
    let alignment = addresses.map(|address| 1 << address.trailing_zeros().min(MOST_ALIGNED));
    takes.then_some(Shape { dtype, a, b, c, alignment, accumulate })
}

/// An operand as it lies in memory, and whether the terms of a row stand side by side.
fn matrix(Operand { row, step, .. }: Operand, rows: u32, terms: u32) -> Option<(Layout, bool)> {
    if step == 1 && row >= terms {
        Some((Layout { rows: terms, cols: rows, column: row, transposed: false }, true))
    } else if row == 1 && step >= rows {
        Some((Layout { rows, cols: terms, column: step, transposed: false }, false))
    } else {
        None
    }
}

/// The library that the environment names, or where that is wanted else those of the system.
pub(super) fn candidates(system: bool) -> Vec<PathBuf> {
    let named = std::env::var_os(CUBLASLT_VARIABLE).map(|library| vec![library.into()]);
    named.unwrap_or_else(|| SYSTEM.iter().filter(|_| system).map(PathBuf::from).collect())
}

/// What the library is called, by release, the latest first.
const SYSTEM: &[&str] = if cfg!(windows) {
    &["cublasLt64_13.dll", "cublasLt64_12.dll", "cublasLt64_11.dll"]
} else if cfg!(target_os = "linux") {
    &["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11"]
} else {
    &[]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_are_by_rows_or_by_columns() {
        let by = |row, step| Operand { first: 0, row, step };
        let product = |x, w| Product {
            batch: 5,
            rows: 7,
            cols: 3,
            dtype: Dtype::F32,
            x,
            w,
            out_first: 0,
            out_row: 9,
            accumulate: false,
        };
        let layout = |rows, cols, column, transposed| Layout { rows, cols, column, transposed };
        let shape = |x, w| shape(&product(x, w), [256, 8, 4]);
        let found = shape(by(4, 1), by(3, 1)).expect("both by rows");
        assert_eq!((found.a, found.b), (layout(3, 7, 3, true), layout(3, 5, 4, false)));
        assert_eq!((found.c, found.alignment), (layout(7, 5, 9, false), [256, 8, 4]));
        let found = shape(by(1, 5), by(1, 8)).expect("both by columns");
        assert_eq!((found.a, found.b), (layout(7, 3, 8, false), layout(5, 3, 5, true)));
        for (x, w) in [(by(2, 1), by(3, 1)), (by(4, 1), by(1, 6)), (by(6, 2), by(3, 1))] {
            assert_eq!(shape(x, w), None, "{x:?} {w:?}");
        }
    }
}
