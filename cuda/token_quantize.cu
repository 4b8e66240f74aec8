// Codes of activations with a zero point, scale, zero point and sum of codes of each row, one block a row; see
// src/kernel/token_quantize.rs.
// constants: WG
#include "part/exact.cuh"
#include "part/reduce.cuh"

struct Params { u32 rows, cols; float scale; i32 zero; };

// Half of the number of these bits, or 0 for a tiny one.
DEVICE float half_of(u32 bits) { return bits >= 0x01000000u ? float_of(bits - 0x00800000u) : 0.0f; }

KERNEL_OF(512, token_quantize)(const float* x, u32* codes, u32* scales, i32* sums, i32* zeros, Params p, Variant) {
    const u32 row = block_index(), words = (p.cols + 3) / 4;
    if (row >= p.rows) return;
    const float* values = x + row * p.cols;
    // The largest magnitude above and below zero: bits order as the numbers do, with infinities and NaN above all.
    u32 above = 0, below = 0;
    for (u32 k = threadIdx.x; k < p.cols; k += blockDim.x) {
        const u32 bits = bits_of(values[k]), size = bits & 0x7fffffffu;
        if (bits >> 31 == 1) below = max(below, size);
        else above = max(above, size);
    }
    above = block_reduce(above, Most());
    below = block_reduce(below, Most());
    const bool finite = max(above, below) < 0x7f800000u;
    float scale = finite ? p.scale : 0.0f;
    i32 zero = finite ? p.zero : 0;
    if (finite && p.scale == 0.0f) {
        // Halved first: the sum may be no f32.
        scale = 2.0f * divide_exact(half_of(above) + half_of(below), 255);
        if (scale < smallest_scale(0)) scale = 0.0f;
        else zero = min(nearest_integer(float_of(below), scale, HALF_EVEN, 0.0f), 255) - 128;
    }
    const float inverse = 1.0f / scale;
    i32 sum = 0;
    for (u32 word = threadIdx.x; word < words; word += blockDim.x) {
        u32 packed = 0;
        for (u32 j = 0; j < 4; j++) {
            const u32 k = 4 * word + j;
            if (!(scale > 0.0f) || k >= p.cols) break;
            const i32 code = clamp(nearest_integer_by(values[k], scale, inverse, HALF_EVEN) + zero, -128, 127);
            packed |= (u32(code) & 0xff) << (8 * j);
            sum += code;
        }
        codes[row * words + word] = packed;
    }
    sum = block_reduce(sum, Sum());
    if (threadIdx.x > 0) return;
    scales[row] = finite ? bits_of(scale) : 0x7fc00000u;
    sums[row] = sum;
    zeros[row] = zero;
}
