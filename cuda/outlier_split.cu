// inliers = x where flags[col] is 0, outliers = x rounded to f16 where it is not; zero elsewhere.
// constants: WG
#include "part/exact.cuh"

struct Params { u32 rows, cols; };

KERNEL(outlier_split)(const u32* x, const u32* flags, u32* inliers, u32* outliers, Params p, Variant) {
    const u32 i = thread_index();
    if (i >= p.rows * p.cols) return;
    const u32 bits = x[i], size = bits & 0x7fffffffu;
    const bool apart = flags[i % p.cols] != 0, nan = size > 0x7f800000u;
    // The bits of a NaN stay as they are.
    const u32 rounded = nan ? bits : bits_of(round_to(float_of(bits), 1));
    inliers[i] = apart ? 0 : bits;
    outliers[i] = apart ? rounded : 0;
}
