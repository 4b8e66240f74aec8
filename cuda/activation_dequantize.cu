// out = code * scale of int8 activations; see src/kernel/activation_quantize.rs for what lies where.
// constants: WG
#include "part/prelude.cuh"

struct Params { u32 rows, cols, block; };

KERNEL(activation_dequantize)(const i8* codes, const float* scales, float* out, Params p, Variant) {
    const u32 i = thread_index();
    if (i >= p.rows * p.cols) return;
    const u32 blocks = (p.cols + p.block - 1) / p.block, block_bytes = (p.block + 3) / 4 * 4;
    const u32 col = i % p.cols, block = i / p.cols * blocks + col / p.block;
    out[i] = float(codes[block * block_bytes + col % p.block]) * scales[block];
}
