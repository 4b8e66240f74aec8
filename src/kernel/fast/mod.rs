//! Fast CPU implementations of the kernels that are hot there: threads by rayon, SIMD by loops over lane arrays that are
//! compiled for several CPU feature sets. Sums keep one order whatever the thread count and the feature set.

pub(super) mod attention;
mod exp;
