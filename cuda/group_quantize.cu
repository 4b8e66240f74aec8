// Codes of a weight under given scales and zero points, packed as a dense bit stream per row:
// code = clamp(round(w / scale) + zero, min_code, 2^bits - 1). A thread takes eight columns at a time, that is `bits` bytes.
// constants: WG
#include "part/exact.cuh"
#include "part/number.cuh"

struct Params { u32 rows, cols, group, groups_per_row, words_per_row, bits, min_code, rounding, seed, first_element; };

// What the values of a group are divided by and moved to.
struct Grid { float scale, inverse; i32 zero; };

DEVICE Grid grid_of(const float* scales, const u32* zeros, u32 g) { return {scales[g], 1.0f / scales[g], i32(zeros[g])}; }

DEVICE u64 code_of(const Params& p, float value, u32 i, const Grid& grid) {
    const i32 steps = p.rounding == STOCHASTIC
        ? nearest_integer(value, grid.scale, STOCHASTIC, uniform_at(p.seed, p.first_element + i))
        : nearest_integer_by(value, grid.scale, grid.inverse, p.rounding);
    return u64(clamp(steps + grid.zero, i32(p.min_code), (1 << p.bits) - 1));
}

// Writes the low bytes of `packed`, by words where they are whole.
DEVICE void store(u8* to, u64 packed, u32 bytes) {
    if (bytes % 4 == 0) {
        for (u32 k = 0; k < bytes; k += 4) *reinterpret_cast<u32*>(to + k) = u32(packed >> (8 * k));
    } else {
        for (u32 k = 0; k < bytes; k++) to[k] = u8(packed >> (8 * k));
    }
}

KERNEL(group_quantize)(const u32* w, const float* scales, const u32* zeros, u32* codes, Params p, Variant v) {
    // Eights up to the end of the last word.
    const u32 eights = (p.cols + 31) / 32 * 4, row_bytes = 4 * p.words_per_row;
    const bool whole = p.cols % 8 == 0 && p.group % 8 == 0;
    for (u32 unit = thread_index(); unit < p.rows * eights; unit += thread_count()) {
        const u32 row = unit / eights, eight = unit % eights, col = 8 * eight, first = row * p.cols;
        const u32 row_group = row * p.groups_per_row, byte = eight * p.bits;
        if (byte >= row_bytes) continue;
        u64 packed = 0;
        if (whole && col < p.cols) {
            const Grid grid = grid_of(scales, zeros, row_group + col / p.group);
            const Eight values = eight_elements(w, first + col, v.weight);
            UNROLL for (u32 k = 0; k < 8; k++) packed |= code_of(p, values.at[k], first + col + k, grid) << (k * p.bits);
        } else {
            for (u32 k = 0; k < 8 && col + k < p.cols; k++) {
                const Grid grid = grid_of(scales, zeros, row_group + (col + k) / p.group);
                packed |= code_of(p, element(w, first + col + k, v.weight), first + col + k, grid) << (k * p.bits);
            }
        }
        store(reinterpret_cast<u8*>(codes) + row * row_bytes + byte, packed, min(p.bits, row_bytes - byte));
    }
}
