// y = x W^T + bias for many rows of int8 activations and a packed weight, by the plan of part many. Sums of a block of
// activations are integers and exact; they are scaled and added in f32. Blocks are multiples of 32 columns, or a row.
#pragma once
#include "part/stage.cuh"

// Scale and sum of a block of activations.
struct BlockScale { float scale; i32 sum; };

template <u32 BITS, u32 BM, u32 BN, u32 WM, u32 WN>
DEVICE void many_int8(const Int8Operands& o, const Int8Params& p, const Variant& v) {
    static_assert(WM * WN == MANY_WARPS, "every warp takes all columns");
    constexpr u32 MT = BM / (16 * WM), NT = BN / (8 * WN);
    constexpr i32 BIAS = BITS == 8 ? 128 : 0;
    // Codes of activations, and what belongs to the blocks of both halves of the columns.
    constexpr u32 PLANE = BN * MANY_COLS, X_STAGE = PLANE + 2 * BN * sizeof(BlockScale), W_STAGE = BM * BITS * 8;
    constexpr u32 ROOM = (SHARED_BYTES - 2 * X_STAGE) / W_STAGE, STAGES = ROOM < 4 ? ROOM : 4;
    static_assert(STAGES >= 2, "copies must run ahead");
    SHARED(u8[2 * X_STAGE + STAGES * W_STAGE], memory);
    u8* const w_stages = memory + 2 * X_STAGE;

    const u32 across = (p.rows + BM - 1) / BM, down = (p.batch + BN - 1) / BN;
    const TilePlace place = tile_place(across, down, BM, BN);
    if (place.first_row >= p.rows || place.first_b >= p.batch) return;
    const u32 warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const u32 warp_row = warp % WM * 16 * MT, warp_b = warp / WM * 8 * NT;
    const u32 steps = (p.cols + MANY_COLS - 1) / MANY_COLS, last_group = (p.cols - 1) / p.group;
    const u32 blocks = (p.cols + p.block - 1) / p.block, x_row = blocks * ((p.block + 3) / 4);

    // Units of 16 activations that a thread stages, four neighbouring threads those of a row; then scales of blocks.
    constexpr u32 UNITS = BN * 4, TURNS = (UNITS + MANY_THREADS - 1) / MANY_THREADS;
    const bool stages_x = threadIdx.x < UNITS, stages_scale = threadIdx.x < 2 * BN;
    static_assert(2 * BN <= MANY_THREADS, "one scale a thread");
    uint4 ahead[TURNS];
    BlockScale scale_ahead{};
    const auto read_x = [&](u32 step) {
        UNROLL for (u32 i = 0; i < TURNS; i++) {
            const u32 b = place.first_b + (threadIdx.x + i * MANY_THREADS) / 4, k = step * MANY_COLS + threadIdx.x % 4 * 16;
            const bool inside = stages_x && b < p.batch && k < p.cols;
            ahead[i] = inside ? *reinterpret_cast<const uint4*>(o.x + u64(b) * x_row + k / 4) : uint4{0, 0, 0, 0};
        }
        const u32 b = place.first_b + threadIdx.x % BN, k = step * MANY_COLS + threadIdx.x / BN * 32;
        if (stages_scale && b < p.batch && k < p.cols) {
            const u32 at = b * blocks + k / p.block;
            scale_ahead = {o.x_scales[at], o.x_sums[at]};
        }
    };
    const auto store_x = [&](u32 step) {
        u8* const stage = memory + step % 2 * X_STAGE;
        UNROLL for (u32 i = 0; i < TURNS; i++) {
            u32 words[4];
            bytes_of<BITS>(words[0], words[1], ahead[i].x, ahead[i].y);
            bytes_of<BITS>(words[2], words[3], ahead[i].z, ahead[i].w);
            const u32 to = code_unit<8>((threadIdx.x + i * MANY_THREADS) / 4, threadIdx.x % 4);
            if (stages_x) *reinterpret_cast<uint4*>(stage + to) = uint4{words[0], words[1], words[2], words[3]};
        }
        if (stages_scale) reinterpret_cast<BlockScale*>(stage + PLANE)[threadIdx.x] = scale_ahead;
    };
    const auto copy_w = [&](u32 step) {
        if (step < steps) {
            copy_codes<BITS, BM>(w_stages + step % STAGES * W_STAGE, o.codes, place.first_row, p.rows, p.words_per_row, step);
        }
        copy_commit();
    };

    float totals[MT][NT][4];
    i32 sums[MT][NT][4];
    UNROLL for (u32 i = 0; i < MT * NT * 4; i++) {
        totals[i / (4 * NT)][i / 4 % NT][i % 4] = 0.0f;
        sums[i / (4 * NT)][i / 4 % NT][i % 4] = 0;
    }
    float scale[2 * MT] = {};
    i32 offset[2 * MT] = {};
    u32 next_scale[2 * MT], next_zero[2 * MT];
    const auto read_groups = [&](u32 group) {
        UNROLL for (u32 i = 0; i < 2 * MT; i++) {
            const u32 row = min(place.first_row + warp_row + 8 * i + g, p.rows - 1), at = row * p.groups_per_row + group;
            next_scale[i] = scale_bits(o.scales, at, v.scale);
            next_zero[i] = zero_code(o.zeros, at, v.zero, BITS);
        }
    };
    // Adds the sums of a block, scaled.
    const auto settle = [&](const BlockScale* scales) {
        UNROLL for (u32 j = 0; j < NT; j++) {
            const BlockScale* const two = scales + warp_b + 8 * j + 2 * t;
            const BlockScale of[2] = {two[0], two[1]};
            UNROLL for (u32 m = 0; m < MT; m++) {
                UNROLL for (u32 q = 0; q < 4; q++) {
                    const i32 sum = sums[m][j][q] + offset[2 * m + q / 2] * of[q % 2].sum;
                    totals[m][j][q] += float(sum) * (scale[2 * m + q / 2] * of[q % 2].scale);
                    sums[m][j][q] = 0;
                }
            }
        }
    };

    UNROLL for (u32 step = 0; step + 1 < STAGES; step++) copy_w(step);
    read_x(0);
    store_x(0);
    u32 group = 0, group_end = 0, block_end = p.block;
    read_groups(0);
    for (u32 step = 0; step < steps; step++) {
        copy_wait<STAGES - 2>();
        __syncthreads();
        copy_w(step + STAGES - 1);
        if (step + 1 < steps) read_x(step + 1);
        const u8* const x_stage = memory + step % 2 * X_STAGE;
        const u8* const w_stage = w_stages + step % STAGES * W_STAGE;
        UNROLL for (u32 c = 0; c < 2; c++) {
            const u32 k = step * MANY_COLS + 32 * c;
            if (k < p.cols) {
                if (k >= group_end) {
                    group_end += p.group;
                    UNROLL for (u32 i = 0; i < 2 * MT; i++) {
                        scale[i] = scale_of(next_scale[i], v.scale);
                        offset[i] = BIAS - i32(next_zero[i]);
                    }
                    group++;
                    read_groups(min(group, last_group));
                }
                u32 w[MT][4];
                UNROLL for (u32 m = 0; m < MT; m++) {
                    const u32 row = warp_row + 16 * m + g;
                    bytes_of<BITS>(w[m][0], w[m][2], staged_codes<BITS>(w_stage, row, c, t));
                    bytes_of<BITS>(w[m][1], w[m][3], staged_codes<BITS>(w_stage, row + 8, c, t));
                }
                UNROLL for (u32 j = 0; j < NT; j++) {
                    const Codes x = staged_codes<8>(x_stage, warp_b + 8 * j + g, c, t);
                    UNROLL for (u32 m = 0; m < MT; m++) mma_s8(sums[m][j], w[m], x.low, x.high);
                }
                if (k + 32 >= min(block_end, p.cols)) {
                    settle(reinterpret_cast<const BlockScale*>(x_stage + PLANE) + c * BN);
                    block_end += p.block;
                }
            }
        }
        if (step + 1 < steps) store_x(step + 1);
    }
    UNROLL for (u32 i = 0; i < MT * NT * 4; i++) {
        const u32 row = place.first_row + warp_row + i / (4 * NT) * 16 + i / 2 % 2 * 8 + g;
        const u32 b = place.first_b + warp_b + i / 4 % NT * 8 + 2 * t + i % 2;
        if (row >= p.rows || b >= p.batch) continue;
        o.out[place_of(p, b, row)] = with_bias(p, o.bias, row, totals[i / (4 * NT)][i / 4 % NT][i % 4]);
    }
}
