// Counts values in bins that span -2^e .. 2^e. Counts are whole numbers: the order of additions does not matter. A thread
// takes EACH values.
// constants: WG EACH
#include "part/prelude.cuh"

struct Params { u32 count, bins; };

KERNEL(histogram_count)(const u32* x, const u32* range, u32* counts, Params p, Variant v) {
    const u32 each = v.constants[1];
    const u32 first = block_index() * blockDim.x * each + threadIdx.x;
    const u32 octaves = __ffs(i32(p.bins)) - 1;
    const float scale = float_of((252 + octaves - range[1]) << 23), middle = float(p.bins / 2);
    for (u32 k = 0; k < each; k++) {
        const u32 i = first + k * blockDim.x;
        if (i >= p.count) break;
        const bool nan = (x[i] & 0x7fffffffu) > 0x7f800000u;
        if (nan) continue;
        const float bin = clamp(floorf(float_of(x[i]) * scale), -middle, middle - 1.0f) + middle;
        atomicAdd(&counts[u32(bin)], 1u);
    }
}
