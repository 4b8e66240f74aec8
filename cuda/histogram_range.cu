// The exponent of the range of a histogram that holds what it held and values between some ends; range = (before, from now
// on). One block.
// constants: WG
#include "part/reduce.cuh"

struct Params { u32 cols; };

KERNEL(histogram_range)(const float* ends, u32* range, Params p, Variant) {
    if (block_index() > 0) return;
    float most = 0.0f;
    for (u32 i = threadIdx.x; i < 2 * p.cols; i += blockDim.x) most = fmaxf(most, fabsf(ends[i]));
    most = block_max(most);
    if (threadIdx.x > 0) return;
    const u32 before = range[1];
    range[0] = before;
    range[1] = max(before, clamp(bits_of(most) >> 23, 27u, 254u));
}
