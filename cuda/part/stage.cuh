// Rows of a weight staged in shared memory, 64 columns at a time, for products with many rows of x: packed codes of BITS
// bits, or with 16 f16.
#pragma once
#include "part/fragment.cuh"
#include "part/product.cuh"

constexpr u32 MANY_WARPS = 8, MANY_THREADS = 32 * MANY_WARPS, MANY_COLS = 64;
// What a block may declare.
constexpr u32 SHARED_BYTES = 48 * 1024;

// Rows of BITS / 2 units of 16 bytes each hold 64 columns. Units change place so that those that a warp reads
// together lie in different banks.
template <u32 BITS> DEVICE u32 code_unit(u32 row, u32 unit) {
    constexpr u32 UNITS = BITS / 2;
    const u32 moved = UNITS == 2 ? unit ^ (row / 4 % 2) : UNITS == 4 ? unit ^ (row / 2 % 2 * 2)
                      : UNITS == 8 ? unit ^ (row % 2 * 4) : unit;
    return (row * UNITS + moved) * 16;
}

// The t-th eight codes of the c-th 32 columns of a staged row.
template <u32 BITS> DEVICE Codes staged_codes(const u8* stage, u32 row, u32 c, u32 t) {
    if constexpr (BITS == 2) {
        return spread2(*reinterpret_cast<const u32*>(stage + code_unit<BITS>(row, 0) + 8 * c + t / 2 * 4), t % 2);
    } else if constexpr (BITS == 4) {
        return {*reinterpret_cast<const u32*>(stage + code_unit<BITS>(row, c) + 4 * t), 0};
    } else {
        const uint2 two = *reinterpret_cast<const uint2*>(stage + code_unit<BITS>(row, 2 * c + t / 2) + t % 2 * 8);
        return {two.x, two.y};
    }
}

// The t-th eight weights of the c-th 32 columns of a staged row as pairs of f16, less the zero point.
template <u32 BITS> DEVICE void staged_pairs(u32 (&pairs)[4], const u8* stage, u32 row, u32 c, u32 t, u32 zero) {
    if constexpr (BITS == 16) {
        pairs_of(pairs, *reinterpret_cast<const uint4*>(stage + code_unit<16>(row, 4 * c + t)));
    } else {
        pairs_of<BITS>(pairs, staged_codes<BITS>(stage, row, c, t), zero);
    }
}

// Starts the copies of 64 columns of BM rows of codes.
template <u32 BITS, u32 BM>
DEVICE void copy_codes(u8* stage, const u32* codes, u32 first_row, u32 rows, u32 words_per_row, u32 step) {
    constexpr u32 UNITS = BITS / 2;
    UNROLL for (u32 i = 0; i < (BM * UNITS + MANY_THREADS - 1) / MANY_THREADS; i++) {
        const u32 unit = threadIdx.x + i * MANY_THREADS, row = unit / UNITS, word = (step * UNITS + unit % UNITS) * 4;
        if (unit >= BM * UNITS) break;
        const bool inside = word < words_per_row;
        // A row past the end repeats the last one and is not written.
        const u32* from = codes + u64(min(first_row + row, rows - 1)) * words_per_row + (inside ? word : 0);
        copy16(stage + code_unit<BITS>(row, unit % UNITS), from, inside);
    }
}

// Which tile a block takes: eight tiles of the weight at a time for all rows of x, so that blocks that run together share
// both in the cache.
struct TilePlace { u32 first_row, first_b; };
DEVICE TilePlace tile_place(u32 across, u32 down, u32 bm, u32 bn) {
    const u32 tile = block_index(), band = tile / (8 * down) * 8, width = min(8u, across - min(band, across)), in = tile % (8 * down);
    // Past the last tile there is no row.
    if (width == 0) return {~0u, ~0u};
    return {(band + in % width) * bm, in / width * bn};
}
