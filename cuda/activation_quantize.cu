// Codes of activations, scale and sum of codes of each block of them, one block of threads a block; see
// src/kernel/activation_quantize.rs.
// constants: WG
#include "part/exact.cuh"
#include "part/reduce.cuh"

struct Params { u32 rows, cols, block; };

KERNEL_OF(512, activation_quantize)(const float* x, u32* codes, u32* scales, i32* sums, Params p, Variant) {
    const u32 blocks = (p.cols + p.block - 1) / p.block, block_words = (p.block + 3) / 4;
    const u32 i = block_index();
    if (i >= p.rows * blocks) return;
    const u32 col = i % blocks * p.block, length = min(p.block, p.cols - col);
    const float* values = x + i / blocks * p.cols + col;
    // Bits of magnitudes order as the numbers do, with infinities and NaN above all.
    u32 most = 0;
    for (u32 k = threadIdx.x; k < length; k += blockDim.x) most = max(most, bits_of(values[k]) & 0x7fffffffu);
    most = block_reduce(most, Most());
    const bool finite = most < 0x7f800000u;
    float scale = finite ? divide_exact(float_of(most), 127) : 0.0f;
    const bool counts = scale >= smallest_scale(0);
    if (!counts) scale = 0.0f;
    const float inverse = 1.0f / scale;
    i32 sum = 0;
    for (u32 word = threadIdx.x; word < block_words; word += blockDim.x) {
        u32 packed = 0;
        for (u32 j = 0; j < 4; j++) {
            const u32 k = 4 * word + j;
            if (!counts || k >= length) break;
            const i32 code = clamp(nearest_integer_by(values[k], scale, inverse, HALF_EVEN), -127, 127);
            packed |= (u32(code) & 0xff) << (8 * j);
            sum += code;
        }
        codes[i * block_words + word] = packed;
    }
    sum = block_reduce(sum, Sum());
    if (threadIdx.x > 0) return;
    scales[i] = finite ? bits_of(scale) : 0x7fc00000u;
    sums[i] = sum;
}
