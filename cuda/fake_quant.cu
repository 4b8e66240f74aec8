// out = (code - zero) * scale with code = clamp(round(w / scale + offset) + zero, 0, 2^bits - 1). A thread takes eight
// columns at a time.
// constants: WG
#include "part/exact.cuh"
#include "part/number.cuh"

struct Params { u32 rows, cols, group, groups_per_row, bits; };

struct Grid { float scale, inverse; i32 zero; };

DEVICE Grid grid_of(const float* scales, const u32* zeros, u32 g) { return {scales[g], 1.0f / scales[g], i32(zeros[g])}; }

DEVICE float nearest_value(const Grid& grid, float value, float offset, u32 bits) {
    const i32 code = clamp(nearest_shifted_by(value, grid.scale, grid.inverse, offset) + grid.zero, 0, (1 << bits) - 1);
    return float(code - grid.zero) * grid.scale;
}

KERNEL(fake_quant)(const u32* w, const float* offsets, const float* scales, const u32* zeros, float* out, Params p, Variant v) {
    const u32 eights = (p.cols + 7) / 8;
    const bool whole = p.cols % 8 == 0 && p.group % 8 == 0;
    for (u32 unit = thread_index(); unit < p.rows * eights; unit += thread_count()) {
        const u32 row = unit / eights, col = unit % eights * 8, first = row * p.cols, row_group = row * p.groups_per_row;
        if (whole) {
            const Grid grid = grid_of(scales, zeros, row_group + col / p.group);
            const Eight values = eight_elements(w, first + col, v.weight), shifts = eight_floats(offsets, first + col);
            Eight nearest;
            UNROLL for (u32 k = 0; k < 8; k++) nearest.at[k] = nearest_value(grid, values.at[k], shifts.at[k], p.bits);
            store_eight(out + first + col, nearest);
        } else {
            for (u32 c = col; c < min(col + 8, p.cols); c++) {
                const Grid grid = grid_of(scales, zeros, row_group + c / p.group);
                out[first + c] = nearest_value(grid, element(w, first + c, v.weight), offsets[first + c], p.bits);
            }
        }
    }
}
