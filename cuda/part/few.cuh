// y = x W^T + bias for up to 8 NT rows of x and a packed weight, near the speed at which the weight is read. A block
// takes 16 MT rows of the weight; each of its 8 warps takes every eighth 128 columns of them, reads codes from global
// memory straight into the operands of tensor cores while it computes with those read before, and the warps' sums are
// added in order at the end. A lane takes 32 neighbouring columns of each 128. Groups are whole 128 columns, or one
// group is a row.
#pragma once
#include "part/fragment.cuh"
#include "part/stream.cuh"

// What a warp reads of 128 columns: codes, activations as they are stored, scales and zero points.
template <u32 BITS, bool SPLIT, u32 MT, u32 NT> struct FewStage {
    u32 words[2 * MT][BITS];
    uint4 x[NT][SPLIT ? 8 : 4];
    RowGroups<MT> groups;
};

template <u32 BITS, bool SPLIT, u32 MT, u32 NT>
DEVICE void few(const u32* __restrict__ x, const u32* __restrict__ codes, const u32* __restrict__ scales,
                const u32* __restrict__ zeros, const float* __restrict__ bias, float* __restrict__ out, const GroupParams& p,
                const Variant& v) {
    constexpr u32 ROWS = 16 * MT, BATCH = 8 * NT;
    SHARED(float[FEW_WARPS * BATCH * ROWS], partial);
    const u32 first_row = block_index() * ROWS;
    if (first_row >= p.rows) return;
    const u32 warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const u32 chunks = (p.cols + FEW_COLS - 1) / FEW_COLS;
    using Stage = FewStage<BITS, SPLIT, MT, NT>;

    const auto read = [&](Stage& to, u32 chunk) {
        UNROLL for (u32 i = 0; i < 2 * MT; i++) {
            // A row past the end repeats the last one and is not written.
            const u32* row = codes + u64(min(first_row + 8 * i + g, p.rows - 1)) * p.words_per_row;
            read_codes<BITS>(to.words[i], row, (4 * chunk + t) * BITS, p.words_per_row);
        }
        UNROLL for (u32 j = 0; j < NT; j++) {
            const u32 b = 8 * j + g, k = FEW_COLS * chunk + 32 * t;
            constexpr u32 PER_READ = SPLIT ? 4 : 8;
            const uint4* from = reinterpret_cast<const uint4*>(x) + (u64(b) * p.cols + k) / PER_READ;
            UNROLL for (u32 i = 0; i < 32 / PER_READ; i++) {
                to.x[j][i] = b < p.batch && k + PER_READ * i < p.cols ? from[i] : uint4{0, 0, 0, 0};
            }
        }
        read_groups<MT>(to.groups, scales, zeros, p.rows, p.groups_per_row, v, BITS, first_row, FEW_COLS * chunk / p.group);
    };

    float totals[MT][NT][4] = {};
    const auto add = [&](const Stage& stage) {
        float sums[MT][NT][4] = {};
        float scale[2 * MT];
        u32 zero[2 * MT];
        UNROLL for (u32 i = 0; i < 2 * MT; i++) {
            scale[i] = scale_of(__shfl_sync(ALL_LANES, stage.groups.scale[i / 4], 4 * g + i % 4), v.scale);
            zero[i] = __shfl_sync(ALL_LANES, stage.groups.zero[i / 4], 4 * g + i % 4) * 0x10001u;
        }
        // Of f32 activations: by how much this lane's row of x is to be brought down, and the four lanes' largest.
        Powers powers[NT];
        if constexpr (SPLIT) {
            UNROLL for (u32 j = 0; j < NT; j++) {
                u32 largest = 0;
                UNROLL for (u32 i = 0; i < 8; i++) {
                    const uint4 four = stage.x[j][i];
                    largest = max(largest, max(max(four.x & 0x7fffffffu, four.y & 0x7fffffffu),
                                               max(four.z & 0x7fffffffu, four.w & 0x7fffffffu)));
                }
                largest = max(largest, __shfl_xor_sync(ALL_LANES, largest, 1));
                largest = max(largest, __shfl_xor_sync(ALL_LANES, largest, 2));
                powers[j] = powers_of(float_of(largest));
            }
        }
        UNROLL for (u32 i = 0; i < 4; i++) {
            u32 high[NT][4], low[NT][4];
            UNROLL for (u32 j = 0; j < NT; j++) {
                if constexpr (SPLIT) {
                    const uint4 a = stage.x[j][2 * i], b = stage.x[j][2 * i + 1];
                    const float eight[8] = {float_of(a.x), float_of(a.y), float_of(a.z), float_of(a.w),
                                            float_of(b.x), float_of(b.y), float_of(b.z), float_of(b.w)};
                    split_pairs(high[j], low[j], eight, powers[j].there);
                } else {
                    pairs_of(high[j], stage.x[j][i]);
                }
            }
            UNROLL for (u32 m = 0; m < MT; m++) {
                u32 upper[4], under[4];
                pairs_of<BITS>(upper, eight_of<BITS>(stage.words[2 * m], i), zero[2 * m]);
                pairs_of<BITS>(under, eight_of<BITS>(stage.words[2 * m + 1], i), zero[2 * m + 1]);
                UNROLL for (u32 step = 0; step < 4; step += 2) {
                    const u32 w[4] = {upper[step], under[step], upper[step + 1], under[step + 1]};
                    UNROLL for (u32 j = 0; j < NT; j++) {
                        mma_f16(sums[m][j], w, high[j][step], high[j][step + 1]);
                        if constexpr (SPLIT) mma_f16(sums[m][j], w, low[j][step], low[j][step + 1]);
                    }
                }
            }
        }
        UNROLL for (u32 j = 0; j < NT; j++) {
            // Sums stand in columns 2 t and 2 t + 1, whose rows of x other lanes brought down.
            float back[2] = {1.0f, 1.0f};
            if constexpr (SPLIT) {
                back[0] = __shfl_sync(ALL_LANES, powers[j].back, 8 * t);
                back[1] = __shfl_sync(ALL_LANES, powers[j].back, 8 * t + 4);
            }
            UNROLL for (u32 m = 0; m < MT; m++) {
                UNROLL for (u32 q = 0; q < 4; q++) totals[m][j][q] += scale[2 * m + q / 2] * (sums[m][j][q] * back[q % 2]);
            }
        }
    };

    Stage now, next;
    if (warp < chunks) read(now, warp);
    for (u32 chunk = warp; chunk < chunks; chunk += FEW_WARPS) {
        if (chunk + FEW_WARPS < chunks) read(next, chunk + FEW_WARPS);
        add(now);
        now = next;
    }

    UNROLL for (u32 m = 0; m < MT; m++) {
        UNROLL for (u32 j = 0; j < NT; j++) {
            UNROLL for (u32 q = 0; q < 4; q++) {
                const u32 row = 16 * m + g + 8 * (q / 2), b = 8 * j + 2 * t + q % 2;
                partial[(warp * BATCH + b) * ROWS + row] = totals[m][j][q];
            }
        }
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < BATCH * ROWS; i += FEW_THREADS) {
        const u32 b = i / ROWS, row = first_row + i % ROWS;
        float total = 0.0f;
        UNROLL for (u32 w = 0; w < FEW_WARPS; w++) total += partial[w * BATCH * ROWS + i];
        if (b < p.batch && row < p.rows) out[place_of(p, b, row)] = with_bias(p, bias, row, total);
    }
}
