// y = x W^T for many rows of x in f16 and a packed weight, for cards of compute capability 9.x. A block takes 128 rows of
// the weight and BN rows of x. Its first warpgroup brings 64 columns of both at a time into shared memory, some steps ahead
// of the other two, which take 64 rows of the weight each: codes become f16 integers in registers, which is exact, and
// meet x in shared memory; sums of a group are scaled in f32. Full and empty stages are told by barriers. Groups are
// multiples of 64 columns, or one group is a row.
#pragma once
#include "part/stage.cuh"
#include "part/warpgroup.cuh"

constexpr u32 HOPPER_THREADS = 3 * WARPGROUP, HOPPER_ROWS = 2 * 64, HOPPER_COLS = 64, HOPPER_STAGES = 6;
// Columns that tensor cores sum at most, as in part many.
constexpr u32 HOPPER_SUMMED = 256;
// Registers of a thread that brings and of one that multiplies; a block of so many threads gets 168 for each.
constexpr u32 BRINGS = 72, MULTIPLIES = 216;
static_assert(BRINGS + 2 * MULTIPLIES <= 3 * 168, "registers are handed on within the block");

// Four words as a matrix of bytes, transposed.
DEVICE void transpose_bytes(u32& a, u32& b, u32& c, u32& d) {
    const u32 ab = __byte_perm(a, b, 0x5140), cd = __byte_perm(c, d, 0x5140);
    const u32 ab_high = __byte_perm(a, b, 0x7362), cd_high = __byte_perm(c, d, 0x7362);
    a = __byte_perm(ab, cd, 0x5410);
    b = __byte_perm(ab, cd, 0x7632);
    c = __byte_perm(ab_high, cd_high, 0x5410);
    d = __byte_perm(ab_high, cd_high, 0x7632);
}

// Codes of 32 columns as a matrix of 4 rows of 8, transposed. x stays in the order of its columns, so lane t of four needs
// columns 2 t and 2 t + 1 of each eight: `pairs_of` finds them in the t-th eight of what is made here.
template <u32 BITS> DEVICE void transpose_codes(u32 (&w)[BITS]) {
    if constexpr (BITS == 2) {
        constexpr u32 even = 0x33333333u;
        const u32 low = __byte_perm(w[0], w[1], 0x5410), high = __byte_perm(w[0], w[1], 0x7632);
        const u32 a = (low & even) | ((high << 2) & ~even), b = ((low >> 2) & even) | (high & ~even);
        const u32 a02 = (a & 0x0f0fu) | ((a >> 12) & 0xf0f0u), a13 = ((a >> 4) & 0x0f0fu) | ((a >> 16) & 0xf0f0u);
        const u32 b02 = (b & 0x0f0fu) | ((b >> 12) & 0xf0f0u), b13 = ((b >> 4) & 0x0f0fu) | ((b >> 16) & 0xf0f0u);
        const u32 first = __byte_perm(a02, b02, 0x5140), second = __byte_perm(a13, b13, 0x5140);
        w[0] = __byte_perm(first, second, 0x5410);
        w[1] = __byte_perm(first, second, 0x7632);
    } else if constexpr (BITS == 4) {
        constexpr u32 even = 0x0f0f0f0fu;
        const u32 a = (w[0] & even) | ((w[1] << 4) & ~even), b = (w[2] & even) | ((w[3] << 4) & ~even);
        const u32 c = ((w[0] >> 4) & even) | (w[1] & ~even), d = ((w[2] >> 4) & even) | (w[3] & ~even);
        w[0] = a, w[1] = b, w[2] = c, w[3] = d;
        transpose_bytes(w[0], w[1], w[2], w[3]);
    } else {
        transpose_bytes(w[0], w[2], w[4], w[6]);
        transpose_bytes(w[1], w[3], w[5], w[7]);
        // Columns 0 to 3 stand in words 0, 2, 4 and 6.
        const u32 c1 = w[2], c2 = w[4], c3 = w[6], c4 = w[1], c5 = w[3], c6 = w[5];
        w[1] = c1, w[2] = c2, w[3] = c3, w[4] = c4, w[5] = c5, w[6] = c6;
    }
}

// What a block stages: x, then codes; stages begin where an atom does.
template <u32 BITS, u32 BN> struct HopperStage {
    static constexpr u32 X = BN * 128, CODES = HOPPER_ROWS * BITS * 8, BYTES = X + CODES;
    static_assert(X % ATOM == 0 && BYTES % ATOM == 0, "stages must begin where an atom does");
};

struct HopperBarriers { u64 full[HOPPER_STAGES], empty[HOPPER_STAGES]; };

// The stage of a step, and how often all were used before, modulo 2.
struct HopperRing {
    u32 stage = 0, phase = 0;
    DEVICE_MEMBER void next() {
        stage++;
        if (stage == HOPPER_STAGES) stage = 0, phase ^= 1;
    }
};

// The first warpgroup.
template <u32 BITS, u32 BN>
DEVICE void hopper_bring(u8* stages, HopperBarriers& barriers, const u32* __restrict__ x, const u32* __restrict__ codes,
                         const GroupParams& p, const TilePlace& place, u32 steps) {
    using Stage = HopperStage<BITS, BN>;
    // Steps that reads run ahead; codes are in registers meanwhile.
    constexpr u32 AHEAD = BITS == 8 ? 2 : 3;
    // A thread brings 32 columns of two rows of codes each step, and 8 columns of each 16th row of x.
    constexpr u32 HALVES = HOPPER_ROWS * 2 / WARPGROUP, APART = WARPGROUP / 8, EIGHTS = BN / APART;
    const u32 e = threadIdx.x % 8, x_row = threadIdx.x / 8, c = threadIdx.x % 2, w_row = threadIdx.x / 2;
    const u32 rows_of_x = p.batch - min(p.batch, place.first_b + x_row), x_apart = APART * p.cols / 2;
    const u32* const x_from = x + u64(place.first_b + x_row) * (p.cols / 2) + 4 * e;
    const u32* w_from[HALVES];
    UNROLL for (u32 i = 0; i < HALVES; i++) {
        // A row past the end repeats the last one and is not written.
        w_from[i] = codes + u64(min(place.first_row + w_row + i * (WARPGROUP / 2), p.rows - 1)) * p.words_per_row;
    }
    u32 words[AHEAD][HALVES][BITS];
    HopperRing reads, fills;
    const auto read = [&](u32 step, u32 (&to)[HALVES][BITS]) {
        if (step < steps) {
            // A stage is empty from the start.
            barrier_wait(&barriers.empty[reads.stage], reads.phase ^ 1);
            u8* const stage = stages + reads.stage * Stage::BYTES + atom_unit(x_row, e);
            const u32 k = step * HOPPER_COLS + 8 * e;
            UNROLL for (u32 i = 0; i < EIGHTS; i++) {
                const bool inside = APART * i < rows_of_x && k < p.cols;
                copy16(stage + APART * 128 * i, inside ? x_from + step * (HOPPER_COLS / 2) + i * x_apart : x, inside);
            }
            const u32 word = (2 * step + c) * BITS;
            UNROLL for (u32 i = 0; i < HALVES; i++) {
                // Rows are whole units of 16 bytes.
                if constexpr (BITS == 2) {
                    uint2 two{0, 0};
                    if (word < p.words_per_row) two = *reinterpret_cast<const uint2*>(w_from[i] + word);
                    to[i][0] = two.x, to[i][1] = two.y;
                } else {
                    UNROLL for (u32 r = 0; r < BITS; r += 4) {
                        uint4 four{0, 0, 0, 0};
                        if (word + r < p.words_per_row) four = *reinterpret_cast<const uint4*>(w_from[i] + word + r);
                        to[i][r] = four.x, to[i][r + 1] = four.y, to[i][r + 2] = four.z, to[i][r + 3] = four.w;
                    }
                }
            }
            reads.next();
        }
        copy_commit();
    };
    const auto fill = [&](u32 (&from)[HALVES][BITS]) {
        u8* const stage = stages + fills.stage * Stage::BYTES + Stage::X;
        UNROLL for (u32 i = 0; i < HALVES; i++) {
            const u32 row = w_row + i * (WARPGROUP / 2);
            transpose_codes<BITS>(from[i]);
            if constexpr (BITS == 2) {
                *reinterpret_cast<uint2*>(stage + code_unit<2>(row, 0) + 8 * c) = uint2{from[i][0], from[i][1]};
            } else {
                UNROLL for (u32 r = 0; r < BITS; r += 4) {
                    *reinterpret_cast<uint4*>(stage + code_unit<BITS>(row, (BITS * c + r) / 4)) =
                        uint4{from[i][r], from[i][r + 1], from[i][r + 2], from[i][r + 3]};
                }
            }
        }
        copy_wait<AHEAD - 1>();
        fence_shared();
        __syncwarp();
        if (threadIdx.x % 32 == 0) barrier_arrive(&barriers.full[fills.stage]);
        fills.next();
    };

    UNROLL for (u32 i = 0; i < AHEAD; i++) read(i, words[i]);
    for (u32 first = 0; first < steps; first += AHEAD) {
        UNROLL for (u32 i = 0; i < AHEAD; i++) {
            if (first + i < steps) {
                fill(words[i]);
                read(first + i + AHEAD, words[i]);
            }
        }
    }
}

// One of the other two, which takes 64 rows of the block's from `own_row` on.
template <u32 BITS, u32 BN>
DEVICE void hopper_multiply(const u8* stages, HopperBarriers& barriers, const u32* __restrict__ scales,
                            const u32* __restrict__ zeros, const float* __restrict__ bias, float* __restrict__ out,
                            const GroupParams& p, const Variant& v,
                            const TilePlace& place, u32 own_row, u32 steps) {
    using Stage = HopperStage<BITS, BN>;
    const u32 g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, last_group = (p.cols - 1) / p.group;
    // The upper of this lane's two rows.
    const u32 upper_row = own_row + threadIdx.x % WARPGROUP / 32 * 16 + g;
    float totals[BN / 2], sums[BN / 2];
    UNROLL for (u32 i = 0; i < BN / 2; i++) totals[i] = sums[i] = 0.0f;
    float scale[2] = {};
    u32 zero[2] = {}, next_scale[2], next_zero[2];
    const auto read_groups = [&](u32 group) {
        UNROLL for (u32 i = 0; i < 2; i++) {
            const u32 at = min(place.first_row + upper_row + 8 * i, p.rows - 1) * p.groups_per_row + group;
            next_scale[i] = scale_bits(scales, at, v.scale);
            next_zero[i] = zero_code(zeros, at, v.zero, BITS);
        }
    };
    const auto settle = [&] {
        UNROLL for (u32 i = 0; i < BN / 2; i++) {
            ready(sums[i]);
            totals[i] += scale[i / 2 % 2] * sums[i];
        }
    };

    u32 group = 0, group_end = 0, sum_end = 0, last_stage = 0;
    HopperRing ring;
    read_groups(0);
    // While the products of one step are under way, the codes of the next become their operands in other registers.
    const auto turn = [&](u32 step, u32 (&w)[4][4]) {
        const u32 k = step * HOPPER_COLS;
        const u8* const stage = stages + ring.stage * Stage::BYTES;
        const bool enters = k == group_end, settles = enters || k == sum_end;
        if (enters) {
            UNROLL for (u32 i = 0; i < 2; i++) zero[i] = next_zero[i] * 0x10001u;
        }
        barrier_wait(&barriers.full[ring.stage], ring.phase);
        UNROLL for (u32 c = 0; c < 2; c++) {
            u32 upper[4], under[4];
            staged_pairs<BITS>(upper, stage + Stage::X, upper_row, c, t, zero[0]);
            staged_pairs<BITS>(under, stage + Stage::X, upper_row + 8, c, t, zero[1]);
            UNROLL for (u32 i = 0; i < 4; i++) {
                w[2 * c + i / 2][i % 2 * 2] = upper[i];
                w[2 * c + i / 2][i % 2 * 2 + 1] = under[i];
            }
        }
        UNROLL for (u32 i = 0; i < 16; i++) ready(w[i / 4][i % 4]);
        multiply_wait<0>();
        __syncwarp();
        if (step > 0 && threadIdx.x % 32 == 0) barrier_arrive(&barriers.empty[last_stage]);
        last_stage = ring.stage;
        ring.next();
        if (settles) {
            // At the first step the sums are 0.
            settle();
            sum_end = k + HOPPER_SUMMED;
        }
        if (enters) {
            UNROLL for (u32 i = 0; i < 2; i++) scale[i] = scale_of(next_scale[i], v.scale);
            group_end += p.group;
            group++;
            read_groups(min(group, last_group));
        }
        multiply_fence();
        UNROLL for (u32 i = 0; i < 4; i++) multiply(sums, w[i], matrix_at(stage + 32 * i), i > 0 || !settles);
        multiply_commit();
    };
    u32 even[4][4], odd[4][4];
    for (u32 step = 0; step < steps; step += 2) {
        turn(step, even);
        turn(step + 1, odd);
    }
    multiply_wait<0>();
    settle();

    UNROLL for (u32 i = 0; i < BN / 2; i++) {
        const u32 row = place.first_row + upper_row + i / 2 % 2 * 8, b = place.first_b + i / 4 * 8 + 2 * t + i % 2;
        if (row < p.rows && b < p.batch) out[place_of(p, b, row)] = with_bias(p, bias, row, totals[i]);
    }
}

// Bytes of shared memory that a launch asks for.
template <u32 BITS, u32 BN> constexpr u32 HOPPER_SHARED = HOPPER_STAGES * HopperStage<BITS, BN>::BYTES + ATOM;

template <u32 BITS, u32 BN>
DEVICE void hopper(const u32* __restrict__ x, const u32* __restrict__ codes, const u32* __restrict__ scales,
                   const u32* __restrict__ zeros, const float* __restrict__ bias, float* __restrict__ out, const GroupParams& p,
                   const Variant& v) {
    SHARED(HopperBarriers, barriers);
    SHARED_DYNAMIC(memory);
    u8* const stages = memory + (ATOM - shared_address(memory) % ATOM) % ATOM;
    const u32 across = (p.rows + HOPPER_ROWS - 1) / HOPPER_ROWS, down = (p.batch + BN - 1) / BN;
    const TilePlace place = tile_place(across, down, HOPPER_ROWS, BN);
    if (place.first_row >= p.rows || place.first_b >= p.batch) return;
    // Steps in pairs; past the last column x is 0.
    const u32 steps = (p.cols + 2 * HOPPER_COLS - 1) / (2 * HOPPER_COLS) * 2;
    if (threadIdx.x == 0) {
        UNROLL for (u32 i = 0; i < HOPPER_STAGES; i++) {
            // A lane of each warp arrives.
            barrier_init(&barriers.full[i], WARPGROUP / 32);
            barrier_init(&barriers.empty[i], 2 * WARPGROUP / 32);
        }
    }
    __syncthreads();
    // The same for all lanes, which the compiler is to know.
    const u32 warpgroup = __shfl_sync(ALL_LANES, threadIdx.x / WARPGROUP, 0);
    if (warpgroup == 0) {
        lower_registers<BRINGS>();
        hopper_bring<BITS, BN>(stages, barriers, x, codes, p, place, steps);
    } else {
        raise_registers<MULTIPLIES>();
        hopper_multiply<BITS, BN>(stages, barriers, scales, zeros, bias, out, p, v, place, (warpgroup - 1) * 64, steps);
    }
}
