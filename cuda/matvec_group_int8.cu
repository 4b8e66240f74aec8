// out[out_offset + b * out_stride + row] = sum over blocks of f32(sum((code - zero) * x_code)) * scale * x_scale, and the
// bias, for up to BATCH rows of x. A block of threads takes ROWS rows of codes; a thread takes 16 columns of a block of
// activations at a time. Where all columns have one scale on both sides, integers are added, exactly below 2^24, and scaled
// at the end.
// constants: BITS BATCH ROWS WG
#include "part/few_int8.cuh"
#include "part/reduce.cuh"

template <u32 BATCH, u32 ROWS>
DEVICE void product(const u32* x, const float* x_scales, const i32* x_sums, const u32* codes, const u32* scales,
                    const u32* zeros, const float* bias, float* out, const Int8Params& p, const Variant& v) {
    const u32 first_row = block_index() * ROWS, bits = v.constants[0];
    if (first_row >= p.rows) return;
    const u32 blocks = (p.cols + p.block - 1) / p.block, block_words = (p.block + 3) / 4, parts = (block_words + 3) / 4;
    const bool once = blocks == 1 && p.group >= p.cols;
    float sums[ROWS][BATCH] = {};
    for (u32 i = threadIdx.x; i < blocks * parts; i += blockDim.x) {
        const u32 block = i / parts, part = i % parts, k = block * p.block + 16 * part;
        // Words of this part that lie in the row: what is behind them may belong to nobody.
        const u32 end = min(p.cols, (block + 1) * p.block);
        if (k >= end) continue;
        const u32 words = min(4u, (end - k + 3) / 4);
        u32 quads[ROWS][4];
        UNROLL for (u32 r = 0; r < ROWS; r++) {
            // A row past the end repeats the last one and is not written.
            const u32 row = min(first_row + r, p.rows - 1);
            UNROLL for (u32 q = 0; q < 4; q++) {
                quads[r][q] = q < words ? quad_in_row(codes + u64(row) * p.words_per_row, p.words_per_row, k + 4 * q, bits) : 0;
            }
        }
        UNROLL for (u32 b = 0; b < BATCH; b++) {
            if (b >= p.batch) break;
            const u32 at = b * blocks + block;
            u32 a[4];
            UNROLL for (u32 q = 0; q < 4; q++) a[q] = q < words ? x[at * block_words + 4 * part + q] : 0;
            // The first part of a block takes the zero point of all of it.
            const i32 x_sum = part == 0 ? x_sums[at] : 0;
            UNROLL for (u32 r = 0; r < ROWS; r++) {
                const u32 g = min(first_row + r, p.rows - 1) * p.groups_per_row + k / p.group;
                i32 dot = (quad_bias(bits) - i32(zero_at(zeros, g, v.zero, bits))) * x_sum;
                UNROLL for (u32 q = 0; q < 4; q++) dot = dot4(a[q], quads[r][q], dot);
                sums[r][b] += float(dot) * (once ? 1.0f : scale_at(scales, g, v.scale) * x_scales[at]);
            }
        }
    }
    UNROLL for (u32 r = 0; r < ROWS; r++) {
        UNROLL for (u32 b = 0; b < BATCH; b++) {
            const float total = block_sum(sums[r][b]);
            const u32 row = first_row + r;
            if (threadIdx.x == 0 && row < p.rows && b < p.batch) {
                const float scale = once ? scale_at(scales, row * p.groups_per_row, v.scale) * x_scales[b * blocks] : 1.0f;
                out[place_of(p, b, row)] = with_bias(p, bias, row, total * scale);
            }
        }
    }
}

KERNEL_OF(256, matvec_group_int8)
(const u32* x, const float* x_scales, const i32* x_sums, const u32* codes, const u32* scales, const u32* zeros,
 const float* bias, float* out, Int8Params p, Variant v) {
    if (v.constants[1] == 1) {
        product<1, 4>(x, x_scales, x_sums, codes, scales, zeros, bias, out, p, v);
    } else {
        product<8, 1>(x, x_scales, x_sums, codes, scales, zeros, bias, out, p, v);
    }
}

// Entries for up to 8 rows of x by tensor cores: width of the codes, rows of the weight a block.
#define FEW(name, bits, rows)                                                                                           \
    KERNEL_OF(256, name)                                                                                                \
    (const u32* x, const float* x_scales, const i32* x_sums, const u32* codes, const u32* scales, const u32* zeros,     \
     const float* bias, float* out, Int8Params p, Variant v) {                                                          \
        few_int8<bits, rows / 16, 1>({x, x_scales, x_sums, codes, scales, zeros, bias, out}, p, v);                     \
    }
FEW(matvec_group_int8_2_32, 2, 32)
FEW(matvec_group_int8_2_64, 2, 64)
FEW(matvec_group_int8_3_32, 3, 32)
FEW(matvec_group_int8_3_64, 3, 64)
FEW(matvec_group_int8_4_32, 4, 32)
FEW(matvec_group_int8_4_64, 4, 64)
FEW(matvec_group_int8_8_32, 8, 32)
