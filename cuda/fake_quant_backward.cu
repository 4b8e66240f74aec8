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

KERNEL(fake_quant_backward)(const u32* w, const float* offsets, const float* scales, const u32* zeros, const float* d_out,
                            float* d_offsets, float* sums, Params p, Variant v) {
    const u32 lanes = v.constants[1];
    const u32 g = thread_index() / lanes, lane = threadIdx.x % lanes;
    const bool within = g < p.rows * p.groups_per_row;
    float scale_sum = 0.0f, zero_sum = 0.0f;
    if (within) {
        const u32 col = g % p.groups_per_row * p.group, start = g / p.groups_per_row * p.cols + col;
        const u32 length = min(p.group, p.cols - col);
        const float scale = scales[g];
        const i32 zero = i32(zeros[g]), most = (1 << p.bits) - 1;
        for (u32 i = start + lane; i < start + length; i += lanes) {
            const float value = element(w, i, v.weight), d = d_out[i];
            const i32 q = nearest_shifted(value, scale, offsets[i]) + zero;
            const bool inside = q >= 0 && q <= most;
            const float steps = float(clamp(q, 0, most) - zero);
            d_offsets[i] = inside ? d * scale : 0.0f;
            scale_sum += d * (steps - (inside ? value / scale : 0.0f));
            zero_sum += inside ? 0.0f : -d * scale;
        }
    }
    scale_sum = lanes_reduce(scale_sum, lanes, Sum());
    zero_sum = lanes_reduce(zero_sum, lanes, Sum());
    if (lane != 0 || !within) return;
    sums[2 * g] = scale_sum;
    sums[2 * g + 1] = zero_sum;
}
