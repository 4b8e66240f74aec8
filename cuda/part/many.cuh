// y = x W^T + bias for many rows of x and a packed weight. A block of 8 warps takes BM rows of the weight and BN rows
// of x; WM warps share the former, WN the latter, and where that makes fewer than 8, two share the columns. 64 columns
// are staged at a time in shared memory: codes as they are stored, by copies that run some steps ahead; activations as
// f16 in the order of their operands, read a step ahead into registers. Codes become f16 integers, which is exact, on
// their way to the tensor cores; sums of a group are scaled in f32. Activations in f32 become two f16 each, see
// `split_pair`, after each row of each 64 columns was brought near f16's largest. Groups are multiples of 32 columns,
// or one group is a row.
#pragma once
#include "part/stage.cuh"

// Columns that tensor cores sum at most: they round towards zero, so that errors of longer sums would add up.
constexpr u32 MANY_SUMMED = 256;

template <u32 BITS, bool SPLIT, u32 BM, u32 BN, u32 WM, u32 WN>
DEVICE void many(const u32* __restrict__ x, const u32* __restrict__ codes, const u32* __restrict__ scales,
                 const u32* __restrict__ zeros, const float* __restrict__ bias, float* __restrict__ out, const GroupParams& p,
                 const Variant& v) {
    constexpr u32 WK = MANY_WARPS / (WM * WN), MT = BM / (16 * WM), NT = BN / (8 * WN);
    constexpr u32 PLANE = BN * MANY_COLS * 2, X_STAGE = SPLIT ? 2 * PLANE + 4 * BN : PLANE, W_STAGE = BM * BITS * 8;
    constexpr u32 ROOM = (SHARED_BYTES - 2 * X_STAGE) / W_STAGE, STAGES = ROOM < 4 ? ROOM : 4;
    static_assert(STAGES >= 2 && (WK == 1 || WK == 2), "copies must run ahead");
    constexpr u32 BYTES = 2 * X_STAGE + STAGES * W_STAGE;
    static_assert(WK == 1 || BYTES >= BM * BN * 4, "sums of half the warps must fit");
    SHARED(u8[BYTES], memory);
    u8* const w_stages = memory + 2 * X_STAGE;

    const u32 across = (p.rows + BM - 1) / BM, down = (p.batch + BN - 1) / BN;
    const TilePlace place = tile_place(across, down, BM, BN);
    if (place.first_row >= p.rows || place.first_b >= p.batch) return;
    const u32 warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const u32 warp_row = warp % WM * 16 * MT, warp_b = warp / WM % WN * 8 * NT, warp_k = warp / (WM * WN);
    const u32 steps = (p.cols + MANY_COLS - 1) / MANY_COLS, last_group = (p.cols - 1) / p.group;

    // Eights of activations that a thread stages, eight neighbouring threads those of a row.
    constexpr u32 EIGHTS = BN * 8, TURNS = (EIGHTS + MANY_THREADS - 1) / MANY_THREADS;
    const bool stages_x = threadIdx.x < EIGHTS;
    uint4 ahead[TURNS][SPLIT ? 2 : 1];
    const auto read_x = [&](u32 step) {
        UNROLL for (u32 i = 0; i < TURNS; i++) {
            const u32 b = place.first_b + (threadIdx.x + i * MANY_THREADS) / 8, k = step * MANY_COLS + threadIdx.x % 8 * 8;
            const bool inside = stages_x && b < p.batch && k < p.cols;
            constexpr u32 READS = SPLIT ? 2 : 1;
            const uint4* from = reinterpret_cast<const uint4*>(x) + (u64(b) * p.cols + k) / 8 * READS;
            UNROLL for (u32 r = 0; r < READS; r++) ahead[i][r] = inside ? from[r] : uint4{0, 0, 0, 0};
        }
    };
    // Where the e-th eight of a row of x lies: rows alternate so that two of them fill all banks.
    const auto x_unit = [](u32 row, u32 e) { return row * 128 + (e ^ (row % 2 * 4)) * 16; };
    const auto store_x = [&](u32 step) {
        if (!stages_x) return;
        u8* const stage = memory + step % 2 * X_STAGE;
        UNROLL for (u32 i = 0; i < TURNS; i++) {
            const u32 row = (threadIdx.x + i * MANY_THREADS) / 8, to = x_unit(row, threadIdx.x % 8);
            u32 pairs[4];
            if constexpr (SPLIT) {
                const uint4 a = ahead[i][0], b = ahead[i][1];
                const u32 bits[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
                float eight[8];
                u32 largest = 0, rest[4];
                UNROLL for (u32 k = 0; k < 8; k++) {
                    eight[k] = float_of(bits[k]);
                    largest = max(largest, bits[k] & 0x7fffffffu);
                }
                UNROLL for (u32 flip = 1; flip < 8; flip *= 2) largest = max(largest, __shfl_xor_sync(ALL_LANES, largest, flip));
                const Powers powers = powers_of(float_of(largest));
                split_pairs(pairs, rest, eight, powers.there);
                *reinterpret_cast<uint4*>(stage + PLANE + to) = uint4{rest[0], rest[1], rest[2], rest[3]};
                if (threadIdx.x % 8 == 0) reinterpret_cast<float*>(stage + 2 * PLANE)[row] = powers.back;
            } else {
                pairs_of(pairs, ahead[i][0]);
            }
            *reinterpret_cast<uint4*>(stage + to) = uint4{pairs[0], pairs[1], pairs[2], pairs[3]};
        }
    };
    const auto copy_w = [&](u32 step) {
        if (step < steps) {
            copy_codes<BITS, BM>(w_stages + step % STAGES * W_STAGE, codes, place.first_row, p.rows, p.words_per_row, step);
        }
        copy_commit();
    };

    // Register i of a thread's sums is of row 16 (i / (4 NT)) + 8 (i / 2 % 2) and column 8 (i / 4 % NT) + i % 2.
    float totals[MT][NT][4], sums[MT][NT][4];
    UNROLL for (u32 i = 0; i < MT * NT * 4; i++) {
        totals[i / (4 * NT)][i / 4 % NT][i % 4] = 0.0f;
        sums[i / (4 * NT)][i / 4 % NT][i % 4] = 0.0f;
    }
    float scale[2 * MT] = {};
    u32 zero[2 * MT] = {}, next_scale[2 * MT], next_zero[2 * MT];
    const auto read_groups = [&](u32 group) {
        UNROLL for (u32 i = 0; i < 2 * MT; i++) {
            const u32 row = min(place.first_row + warp_row + 8 * i + g, p.rows - 1), at = row * p.groups_per_row + group;
            next_scale[i] = BITS == 16 ? 0 : scale_bits(scales, at, v.scale);
            next_zero[i] = BITS == 16 ? 0 : zero_code(zeros, at, v.zero, BITS);
        }
    };
    // Adds the sums of a group, scaled; of f32 activations, those of a step.
    const auto settle = [&](const u8* x_stage) {
        UNROLL for (u32 j = 0; j < NT; j++) {
            float2 back{1.0f, 1.0f};
            if constexpr (SPLIT) {
                back = *reinterpret_cast<const float2*>(x_stage + 2 * PLANE + 4 * (warp_b + 8 * j + 2 * t));
            }
            UNROLL for (u32 m = 0; m < MT; m++) {
                UNROLL for (u32 q = 0; q < 4; q++) {
                    totals[m][j][q] += scale[2 * m + q / 2] * (sums[m][j][q] * (q % 2 ? back.y : back.x));
                    sums[m][j][q] = 0.0f;
                }
            }
        }
    };

    UNROLL for (u32 step = 0; step + 1 < STAGES; step++) copy_w(step);
    read_x(0);
    store_x(0);
    u32 group = min(32 * warp_k, p.cols - 1) / p.group, group_end = 0, sum_end = MANY_SUMMED;
    read_groups(group);
    for (u32 step = 0; step < steps; step++) {
        copy_wait<STAGES - 2>();
        __syncthreads();
        copy_w(step + STAGES - 1);
        if (step + 1 < steps) read_x(step + 1);
        const u8* const x_stage = memory + step % 2 * X_STAGE;
        const u8* const w_stage = w_stages + step % STAGES * W_STAGE;
        UNROLL for (u32 half = 0; half < 2 / WK; half++) {
            const u32 c = WK == 1 ? half : warp_k, k = step * MANY_COLS + 32 * c;
            // Past the last column activations are 0, and the last group goes on.
            if constexpr (!SPLIT) {
                if (k >= min(group_end, sum_end)) settle(x_stage);
                if (k >= sum_end) sum_end += MANY_SUMMED;
            }
            if (k >= group_end) {
                if (group_end == 0) group_end = group * p.group;
                UNROLL for (u32 i = 0; i < 2 * MT; i++) {
                    scale[i] = BITS == 16 ? 1.0f : scale_of(next_scale[i], v.scale);
                    zero[i] = next_zero[i] * 0x10001u;
                }
                group_end += p.group;
                // A warp that takes every other 32 columns meets every other group of 32.
                const u32 skipped = WK == 2 && p.group == 32 ? 1 : 0;
                group += 1 + skipped;
                read_groups(min(group, last_group));
                group_end += skipped * p.group;
            }
            u32 upper[MT][4], under[MT][4];
            UNROLL for (u32 m = 0; m < MT; m++) {
                const u32 row = warp_row + 16 * m + g;
                staged_pairs<BITS>(upper[m], w_stage, row, c, t, zero[2 * m]);
                staged_pairs<BITS>(under[m], w_stage, row + 8, c, t, zero[2 * m + 1]);
            }
            UNROLL for (u32 j = 0; j < NT; j++) {
                UNROLL for (u32 plane = 0; plane < (SPLIT ? 2 : 1); plane++) {
                    const uint4 b = *reinterpret_cast<const uint4*>(x_stage + plane * PLANE + x_unit(warp_b + 8 * j + g, 4 * c + t));
                    UNROLL for (u32 m = 0; m < MT; m++) {
                        const u32 first[4] = {upper[m][0], under[m][0], upper[m][1], under[m][1]};
                        const u32 second[4] = {upper[m][2], under[m][2], upper[m][3], under[m][3]};
                        mma_f16(sums[m][j], first, b.x, b.y);
                        mma_f16(sums[m][j], second, b.z, b.w);
                    }
                }
            }
            if constexpr (SPLIT) {
                if (half + 1 == 2 / WK || k + 32 >= group_end) settle(x_stage);
            }
        }
        if (step + 1 < steps) store_x(step + 1);
    }
    if constexpr (!SPLIT) settle(memory);

    if constexpr (WK == 2) {
        // The second half of the warps hands its sums over; nothing of the stages is read any more.
        copy_wait<0>();
        __syncthreads();
        float* const theirs = reinterpret_cast<float*>(memory) + warp % (WM * WN) * (MT * NT * 4 * 32) + threadIdx.x % 32;
        UNROLL for (u32 i = 0; i < MT * NT * 4; i++) {
            if (warp_k == 1) theirs[i * 32] = totals[i / (4 * NT)][i / 4 % NT][i % 4];
        }
        __syncthreads();
        if (warp_k == 1) return;
        UNROLL for (u32 i = 0; i < MT * NT * 4; i++) totals[i / (4 * NT)][i / 4 % NT][i % 4] += theirs[i * 32];
    }
    UNROLL for (u32 i = 0; i < MT * NT * 4; i++) {
        const u32 row = place.first_row + warp_row + i / (4 * NT) * 16 + i / 2 % 2 * 8 + g;
        const u32 b = place.first_b + warp_b + i / 4 % NT * 8 + 2 * t + i % 2;
        if (row < p.rows && b < p.batch) {
            out[place_of(p, b, row)] = with_bias(p, bias, row, totals[i / (4 * NT)][i / 4 % NT][i % 4]);
        }
    }
}
