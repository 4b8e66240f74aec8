// out[out_offset + b * out_stride + row] = sum over k of x[b, k] * (code - zero) * scale, and the bias, for up to BATCH rows
// of x. A block takes ROWS rows of codes; a thread takes eight columns at a time.
// constants: BITS BATCH ROWS WG
#include "part/few.cuh"
#include "part/reduce.cuh"

template <u32 BATCH, u32 ROWS>
DEVICE void product(const u32* x, const u32* codes, const u32* scales, const u32* zeros, const float* bias, float* out,
                    const GroupParams& p, const Variant& v) {
    const u32 first_row = block_index() * ROWS, bits = v.constants[0];
    if (first_row >= p.rows) return;
    float sums[ROWS][BATCH] = {};
    for (u32 k = 8 * threadIdx.x; k < p.cols; k += 8 * blockDim.x) {
        const u32 group = k / p.group, left = (group + 1) * p.group - k, inside = min(8u, p.cols - k);
        // A group is at least 16 columns, so eight columns meet one boundary at most.
        const bool two = left < inside;
        Eight weights[ROWS];
        UNROLL for (u32 r = 0; r < ROWS; r++) {
            // A row past the end repeats the last one and is not written.
            const u32 row = min(first_row + r, p.rows - 1), g = row * p.groups_per_row + group, next = g + u32(two);
            const u64 eight = eight_in_row(codes + u64(row) * p.words_per_row, p.words_per_row, k, bits);
            const float zero = zero_at(zeros, g, v.zero, bits), next_zero = zero_at(zeros, next, v.zero, bits);
            const float scale = scale_at(scales, g, v.scale), next_scale = scale_at(scales, next, v.scale);
            UNROLL for (u32 i = 0; i < 8; i++) {
                const float code = float(u32(eight >> (i * bits)) & ((1u << bits) - 1));
                weights[r].at[i] = i < left ? (code - zero) * scale : (code - next_zero) * next_scale;
            }
        }
        UNROLL for (u32 b = 0; b < BATCH; b++) {
            if (b >= p.batch) break;
            UNROLL for (u32 i = 0; i < 8; i++) {
                const float value = i < inside ? element(x, b * p.cols + k + i, v.activation) : 0.0f;
                UNROLL for (u32 r = 0; r < ROWS; r++) sums[r][b] += weights[r].at[i] * value;
            }
        }
    }
    UNROLL for (u32 r = 0; r < ROWS; r++) {
        UNROLL for (u32 b = 0; b < BATCH; b++) {
            const float total = block_sum(sums[r][b]);
            const u32 row = first_row + r;
            if (threadIdx.x == 0 && row < p.rows && b < p.batch) out[place_of(p, b, row)] = with_bias(p, bias, row, total);
        }
    }
}

KERNEL_OF(64, matvec_group)
(const u32* x, const u32* codes, const u32* scales, const u32* zeros, const float* bias, float* out, GroupParams p,
 Variant v) {
    if (v.constants[1] == 1) {
        product<1, 4>(x, codes, scales, zeros, bias, out, p, v);
    } else {
        product<8, 1>(x, codes, scales, zeros, bias, out, p, v);
    }
}

// Entries for up to 8 rows of x by tensor cores: width of the codes, type of the activations, rows of the weight a block.
#define FEW(name, bits, split, rows)                                                                                    \
    KERNEL_OF(256, name)                                                                                                \
    (const u32* x, const u32* codes, const u32* scales, const u32* zeros, const float* bias, float* out, GroupParams p, \
     Variant v) {                                                                                                       \
        few<bits, split, rows / 16, 1>(x, codes, scales, zeros, bias, out, p, v);                                       \
    }
FEW(matvec_group_2_f16_32, 2, false, 32)
FEW(matvec_group_2_f16_64, 2, false, 64)
FEW(matvec_group_2_f32_32, 2, true, 32)
FEW(matvec_group_2_f32_64, 2, true, 64)
FEW(matvec_group_3_f16_32, 3, false, 32)
FEW(matvec_group_3_f16_64, 3, false, 64)
FEW(matvec_group_3_f32_32, 3, true, 32)
FEW(matvec_group_3_f32_64, 3, true, 64)
FEW(matvec_group_4_f16_32, 4, false, 32)
FEW(matvec_group_4_f16_64, 4, false, 64)
FEW(matvec_group_4_f32_32, 4, true, 32)
FEW(matvec_group_4_f32_64, 4, true, 64)
FEW(matvec_group_8_f16_32, 8, false, 32)
FEW(matvec_group_8_f32_32, 8, true, 32)
