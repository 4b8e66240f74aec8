// out[out_offset + b * out_stride + row] = sum over blocks of f32(sum((code - zero) * x_code)) * scale * x_scale, and the
// bias, by tiles of 64 rows of x and 64 rows of w. A block of threads stages 16 quads of both at a time; a thread keeps 4x4
// integer sums of a block of activations and 4x4 sums of all blocks.
// constants: BITS
#include "part/few_int8.cuh"
#include "part/many_int8.cuh"
#include "part/tile.cuh"

KERNEL_OF(256, matmul_group_int8)
(const u32* x, const float* x_scales, const i32* x_sums, const u32* codes, const u32* scales, const u32* zeros,
 const float* bias, float* out, Int8Params p, Variant v) {
    SHARED(u32[TILE_STEP * TILE_STRIDE], x_tile);
    SHARED(u32[TILE_STEP * TILE_STRIDE], w_tile);
    const u32 bits = v.constants[0];
    const u32 across = (p.rows + TILE - 1) / TILE, tile = block_index();
    const u32 first_b = tile / across * TILE, first_row = tile % across * TILE;
    if (first_b >= p.batch) return;
    const u32 blocks = (p.cols + p.block - 1) / p.block, block_words = (p.block + 3) / 4;
    const u32 at_b = threadIdx.x / 16 * 4, at_row = threadIdx.x % 16 * 4;
    float totals[4][4] = {};
    for (u32 block = 0; block < blocks; block++) {
        const u32 start = block * p.block, quads = (min(p.block, p.cols - start) + 3) / 4;
        i32 sums[4][4] = {};
        for (u32 first = 0; first < quads; first += TILE_STEP) {
            UNROLL for (u32 i = 0; i < TILE * TILE_STEP / TILE_THREADS; i++) {
                const Staged at = staged(i, true);
                const u32 quad = first + at.k, b = first_b + at.row, row = first_row + at.row;
                const bool in = quad < quads;
                x_tile[at.k * TILE_STRIDE + at.row] = in && b < p.batch ? x[(b * blocks + block) * block_words + quad] : 0;
                w_tile[at.k * TILE_STRIDE + at.row] =
                    in && row < p.rows ? quad_in_row(codes + u64(row) * p.words_per_row, p.words_per_row, start + 4 * quad, bits) : 0;
            }
            __syncthreads();
            UNROLL for (u32 k = 0; k < TILE_STEP; k++) {
                const uint4 a = *reinterpret_cast<const uint4*>(x_tile + k * TILE_STRIDE + at_b);
                const uint4 w = *reinterpret_cast<const uint4*>(w_tile + k * TILE_STRIDE + at_row);
                const u32 of_x[4] = {a.x, a.y, a.z, a.w}, of_w[4] = {w.x, w.y, w.z, w.w};
                UNROLL for (u32 b = 0; b < 4; b++) {
                    UNROLL for (u32 r = 0; r < 4; r++) sums[b][r] = dot4(of_x[b], of_w[r], sums[b][r]);
                }
            }
            __syncthreads();
        }
        UNROLL for (u32 r = 0; r < 4; r++) {
            const u32 g = min(first_row + at_row + r, p.rows - 1) * p.groups_per_row + start / p.group;
            const i32 offset = quad_bias(bits) - i32(zero_at(zeros, g, v.zero, bits));
            const float scale = scale_at(scales, g, v.scale);
            UNROLL for (u32 b = 0; b < 4; b++) {
                const u32 at = min(first_b + at_b + b, p.batch - 1) * blocks + block;
                totals[b][r] += float(sums[b][r] + offset * x_sums[at]) * (scale * x_scales[at]);
            }
        }
    }
    UNROLL for (u32 b = 0; b < 4; b++) {
        UNROLL for (u32 r = 0; r < 4; r++) {
            const u32 to_b = first_b + at_b + b, row = first_row + at_row + r;
            if (to_b < p.batch && row < p.rows) out[place_of(p, to_b, row)] = with_bias(p, bias, row, totals[b][r]);
        }
    }
}

// Entries by tensor cores: width of the codes, rows of the weight and of x a block.
#define FEW(name, bits, rows)                                                                                           \
    KERNEL_OF(256, name)                                                                                                \
    (const u32* x, const float* x_scales, const i32* x_sums, const u32* codes, const u32* scales, const u32* zeros,     \
     const float* bias, float* out, Int8Params p, Variant v) {                                                          \
        few_int8<bits, rows / 16, 2>({x, x_scales, x_sums, codes, scales, zeros, bias, out}, p, v);                     \
    }
#define MANY(name, bits, rows, batch)                                                                                   \
    KERNEL_OF(256, name)                                                                                                \
    (const u32* x, const float* x_scales, const i32* x_sums, const u32* codes, const u32* scales, const u32* zeros,     \
     const float* bias, float* out, Int8Params p, Variant v) {                                                          \
        many_int8<bits, rows, batch, 4, 2>({x, x_scales, x_sums, codes, scales, zeros, bias, out}, p, v);               \
    }
FEW(matmul_group_int8_2_32x16, 2, 32)
FEW(matmul_group_int8_2_64x16, 2, 64)
MANY(matmul_group_int8_2_64x32, 2, 64, 32)
MANY(matmul_group_int8_2_64x64, 2, 64, 64)
MANY(matmul_group_int8_2_128x128, 2, 128, 128)
FEW(matmul_group_int8_4_32x16, 4, 32)
FEW(matmul_group_int8_4_64x16, 4, 64)
MANY(matmul_group_int8_4_64x32, 4, 64, 32)
MANY(matmul_group_int8_4_64x64, 4, 64, 64)
MANY(matmul_group_int8_4_128x128, 4, 128, 128)
FEW(matmul_group_int8_8_32x16, 8, 32)
MANY(matmul_group_int8_8_64x32, 8, 64, 32)
MANY(matmul_group_int8_8_64x64, 8, 64, 64)
MANY(matmul_group_int8_8_128x128, 8, 128, 128)
