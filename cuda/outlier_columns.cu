// flags[col] = 1 if any |x[row, col]| >= threshold, else 0; one thread a column.
// constants: WG
#include "part/prelude.cuh"

struct Params { u32 rows, cols; float threshold; };

KERNEL(outlier_columns)(const u32* x, u32* flags, Params p, Variant) {
    const u32 col = thread_index();
    if (col >= p.cols) return;
    // Magnitudes order as their bits do, with infinities and NaN above all.
    u32 largest = 0;
    for (u32 row = 0; row < p.rows; row++) largest = max(largest, x[row * p.cols + col] & 0x7fffffffu);
    flags[col] = u32(largest >= bits_of(p.threshold));
}
