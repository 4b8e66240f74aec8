// y = x W^T + bias for up to 8 NT rows of int8 activations and a packed weight, by the plan of part few. Sums of a
// warp's 128 columns are integers, scaled and added in f32; where a row is one block and one group, integers are added
// to the end. Blocks of activations are whole 128 columns, or a row.
#pragma once
#include "part/stream.cuh"

template <u32 BITS, u32 MT, u32 NT> struct FewInt8Stage {
    u32 words[2 * MT][BITS];
    uint4 x[NT][2];
    float x_scale[NT];
    i32 x_sum[NT];
    RowGroups<MT> groups;
};

template <u32 BITS, u32 MT, u32 NT>
DEVICE void few_int8(const Int8Operands& o, const Int8Params& p, const Variant& v) {
    constexpr u32 ROWS = 16 * MT, BATCH = 8 * NT;
    constexpr i32 BIAS = BITS == 8 ? 128 : 0;
    SHARED(u32[FEW_WARPS * BATCH * ROWS], partial);
    const u32 first_row = block_index() * ROWS;
    if (first_row >= p.rows) return;
    const u32 warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const u32 chunks = (p.cols + FEW_COLS - 1) / FEW_COLS, blocks = (p.cols + p.block - 1) / p.block;
    const u32 x_row = blocks * ((p.block + 3) / 4);
    const bool once = blocks == 1;
    using Stage = FewInt8Stage<BITS, MT, NT>;

    const auto read = [&](Stage& to, u32 chunk) {
        UNROLL for (u32 i = 0; i < 2 * MT; i++) {
            // A row past the end repeats the last one and is not written.
            const u32* row = o.codes + u64(min(first_row + 8 * i + g, p.rows - 1)) * p.words_per_row;
            read_codes<BITS>(to.words[i], row, (4 * chunk + t) * BITS, p.words_per_row);
        }
        const u32 block = FEW_COLS * chunk / p.block;
        UNROLL for (u32 j = 0; j < NT; j++) {
            const u32 b = 8 * j + g, k = FEW_COLS * chunk + 32 * t;
            const uint4* from = reinterpret_cast<const uint4*>(o.x + u64(b) * x_row + k / 4);
            UNROLL for (u32 i = 0; i < 2; i++) to.x[j][i] = b < p.batch && k < p.cols ? from[i] : uint4{0, 0, 0, 0};
            // The first columns of a block take the zero point of all of it.
            const u32 at = min(b, p.batch - 1) * blocks + block;
            to.x_scale[j] = o.x_scales[at];
            to.x_sum[j] = FEW_COLS * chunk % p.block == 0 ? o.x_sums[at] : 0;
        }
        read_groups<MT>(to.groups, o.scales, o.zeros, p.rows, p.groups_per_row, v, BITS, first_row, FEW_COLS * chunk / p.group);
    };

    float totals[MT][NT][4];
    i32 sums[MT][NT][4];
    UNROLL for (u32 i = 0; i < MT * NT * 4; i++) {
        totals[i / (4 * NT)][i / 4 % NT][i % 4] = 0.0f;
        sums[i / (4 * NT)][i / 4 % NT][i % 4] = 0;
    }
    const auto add = [&](const Stage& stage) {
        UNROLL for (u32 i = 0; i < 4; i++) {
            u32 x[NT][2];
            UNROLL for (u32 j = 0; j < NT; j++) {
                const uint4 two = stage.x[j][i / 2];
                bytes_of<BITS>(x[j][0], x[j][1], i % 2 ? two.z : two.x, i % 2 ? two.w : two.y);
            }
            UNROLL for (u32 m = 0; m < MT; m++) {
                u32 w[4];
                bytes_of<BITS>(w[0], w[2], eight_of<BITS>(stage.words[2 * m], i));
                bytes_of<BITS>(w[1], w[3], eight_of<BITS>(stage.words[2 * m + 1], i));
                UNROLL for (u32 j = 0; j < NT; j++) mma_s8(sums[m][j], w, x[j][0], x[j][1]);
            }
        }
        if (once) return;
        float scale[2 * MT];
        i32 offset[2 * MT];
        UNROLL for (u32 i = 0; i < 2 * MT; i++) {
            scale[i] = scale_of(__shfl_sync(ALL_LANES, stage.groups.scale[i / 4], 4 * g + i % 4), v.scale);
            offset[i] = BIAS - i32(__shfl_sync(ALL_LANES, stage.groups.zero[i / 4], 4 * g + i % 4));
        }
        UNROLL for (u32 j = 0; j < NT; j++) {
            // Sums stand in columns 2 t and 2 t + 1, which are rows of x that other lanes read.
            const float x_scale[2] = {__shfl_sync(ALL_LANES, stage.x_scale[j], 8 * t), __shfl_sync(ALL_LANES, stage.x_scale[j], 8 * t + 4)};
            const i32 x_sum[2] = {__shfl_sync(ALL_LANES, stage.x_sum[j], 8 * t), __shfl_sync(ALL_LANES, stage.x_sum[j], 8 * t + 4)};
            UNROLL for (u32 m = 0; m < MT; m++) {
                UNROLL for (u32 q = 0; q < 4; q++) {
                    const i32 sum = sums[m][j][q] + offset[2 * m + q / 2] * x_sum[q % 2];
                    totals[m][j][q] += float(sum) * (scale[2 * m + q / 2] * x_scale[q % 2]);
                    sums[m][j][q] = 0;
                }
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

    UNROLL for (u32 i = 0; i < MT * NT * 4; i++) {
        const u32 m = i / (4 * NT), j = i / 4 % NT, q = i % 4, row = 16 * m + g + 8 * (q / 2), b = 8 * j + 2 * t + q % 2;
        partial[(warp * BATCH + b) * ROWS + row] = once ? u32(sums[m][j][q]) : bits_of(totals[m][j][q]);
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < BATCH * ROWS; i += FEW_THREADS) {
        const u32 b = i / ROWS, row = first_row + i % ROWS;
        if (b >= p.batch || row >= p.rows) continue;
        float total = 0.0f;
        if (once) {
            const u32 at = row * p.groups_per_row;
            i32 sum = (BIAS - i32(zero_at(o.zeros, at, v.zero, BITS))) * o.x_sums[b];
            UNROLL for (u32 w = 0; w < FEW_WARPS; w++) sum += i32(partial[w * BATCH * ROWS + i]);
            total = float(sum) * (scale_at(o.scales, at, v.scale) * o.x_scales[b]);
        } else {
            UNROLL for (u32 w = 0; w < FEW_WARPS; w++) total += float_of(partial[w * BATCH * ROWS + i]);
        }
        o.out[place_of(p, b, row)] = with_bias(p, o.bias, row, total);
    }
}
