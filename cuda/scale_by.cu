// out = x * factor, the factor being on the device.
// constants: WG
#include "part/prelude.cuh"

struct Params { u32 count; };

KERNEL(scale_by)(const float* x, const float* factor, float* out, Params p, Variant) {
    const u32 i = thread_index();
    if (i >= p.count) return;
    out[i] = x[i] * factor[0];
}
