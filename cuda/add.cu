// out = a + b.
// constants: WG
#include "part/prelude.cuh"

struct Params { u32 count; };

KERNEL(add)(const float* a, const float* b, float* out, Params p, Variant) {
    const u32 i = thread_index();
    if (i >= p.count) return;
    out[i] = a[i] + b[i];
}
