// Gradients of fake_quant, straight through its rounding: with q = round(w / scale + offset) + zero, inside = 1 where
// 0 <= q <= 2^bits - 1, code = clamp(q),
//   d_offset = d_out * scale * inside,
//   sums[group] = sum of d_out * ((code - zero) - inside * w / scale), sum of d_out * scale * (inside - 1):
// what scale and zero point get. LANES threads share a group.
// constants: WG LANES
#include "part/exact.cuh"
#include "part/number.cuh"
#include "part/reduce.cuh"

struct Params { u32 rows, cols, group, groups_per_row, bits; };

struct Grid { float scale, inverse; i32 zero, most; };

struct Sums { float scale, zero; };

// Adds an element to the sums of its group and gives the gradient of its offset.
DEVICE float enter(Sums& sums, const Grid& grid, float value, float offset, float d) {
    const i32 q = nearest_shifted_by(value, grid.scale, grid.inverse, offset) + grid.zero;
    const float steps = float(clamp(q, 0, grid.most) - grid.zero);
    const bool inside = q >= 0 && q <= grid.most;
    sums.scale += d * (steps - (inside ? value / grid.scale : 0.0f));
    sums.zero += inside ? 0.0f : -d * grid.scale;
    return inside ? d * grid.scale : 0.0f;
}

KERNEL(fake_quant_backward)(const u32* w, const float* offsets, const float* scales, const u32* zeros, const float* d_out,
                            float* d_offsets, float* sums, Params p, Variant v) {
    const u32 lanes = v.constants[1];
    const u32 g = thread_index() / lanes, lane = threadIdx.x % lanes;
    const bool within = g < p.rows * p.groups_per_row;
    Sums own = {0.0f, 0.0f};
    if (within) {
        const u32 col = g % p.groups_per_row * p.group, start = g / p.groups_per_row * p.cols + col;
        const u32 length = min(p.group, p.cols - col);
        const Grid grid = {scales[g], 1.0f / scales[g], i32(zeros[g]), (1 << p.bits) - 1};
        if (start % 8 == 0 && length % 8 == 0) {
            for (u32 i = start + 8 * lane; i < start + length; i += 8 * lanes) {
                const Eight values = eight_elements(w, i, v.weight), shifts = eight_floats(offsets, i), ds = eight_floats(d_out, i);
                Eight gradients;
                UNROLL for (u32 k = 0; k < 8; k++) gradients.at[k] = enter(own, grid, values.at[k], shifts.at[k], ds.at[k]);
                store_eight(d_offsets + i, gradients);
            }
        } else {
            for (u32 i = start + lane; i < start + length; i += lanes)
                d_offsets[i] = enter(own, grid, element(w, i, v.weight), offsets[i], d_out[i]);
        }
    }
    own.scale = lanes_reduce(own.scale, lanes, Sum());
    own.zero = lanes_reduce(own.zero, lanes, Sum());
    if (lane != 0 || !within) return;
    sums[2 * g] = own.scale;
    sums[2 * g + 1] = own.zero;
}
