// d_x = slope(x) * d_y.
// constants: WG
#include "part/activation.cuh"

struct Params { u32 count; };

KERNEL(activate_backward)(const float* x, const float* d_y, float* d_x, Params p, Variant v) {
    const u32 i = thread_index();
    if (i >= p.count) return;
    d_x[i] = slope(v.slope, x[i]) * d_y[i];
}
