// out[out_offset + b * out_stride + row] = sum over k of x[b, k] * w[row, k], for up to BATCH rows of x. A block takes ROWS
// rows of w; a thread takes eight columns at a time where rows begin at 16 bytes, else one.
// constants: BATCH ROWS WG
#include "part/number.cuh"
#include "part/product.cuh"
#include "part/reduce.cuh"

template <u32 BATCH, u32 ROWS>
DEVICE void product(const u32* x, const u32* w, float* out, const DenseParams& p, const Variant& v) {
    const u32 first_row = block_index() * ROWS;
    if (first_row >= p.rows) return;
    float sums[ROWS][BATCH] = {};
    if (p.cols % 8 == 0) {
        for (u32 k = 8 * threadIdx.x; k < p.cols; k += 8 * blockDim.x) {
            Eight weights[ROWS];
            // A row past the end repeats the last one and is not written.
            UNROLL for (u32 r = 0; r < ROWS; r++) {
                weights[r] = eight_elements(w, min(first_row + r, p.rows - 1) * p.cols + k, v.weight);
            }
            UNROLL for (u32 b = 0; b < BATCH; b++) {
                if (b >= p.batch) break;
                const Eight values = eight_elements(x, b * p.cols + k, v.activation);
                UNROLL for (u32 r = 0; r < ROWS; r++) {
                    UNROLL for (u32 i = 0; i < 8; i++) sums[r][b] += weights[r].at[i] * values.at[i];
                }
            }
        }
    } else {
        for (u32 k = threadIdx.x; k < p.cols; k += blockDim.x) {
            UNROLL for (u32 b = 0; b < BATCH; b++) {
                if (b >= p.batch) break;
                const float value = element(x, b * p.cols + k, v.activation);
                UNROLL for (u32 r = 0; r < ROWS; r++) {
                    sums[r][b] += element(w, min(first_row + r, p.rows - 1) * p.cols + k, v.weight) * value;
                }
            }
        }
    }
    UNROLL for (u32 r = 0; r < ROWS; r++) {
        UNROLL for (u32 b = 0; b < BATCH; b++) {
            const float total = block_sum(sums[r][b]);
            if (threadIdx.x == 0 && first_row + r < p.rows && b < p.batch) out[place_of(p, b, first_row + r)] = total;
        }
    }
}

KERNEL_OF(64, matvec)(const u32* x, const u32* w, float* out, DenseParams p, Variant v) {
    if (v.constants[0] == 1) {
        product<1, 4>(x, w, out, p, v);
    } else {
        product<8, 1>(x, w, out, p, v);
    }
}
