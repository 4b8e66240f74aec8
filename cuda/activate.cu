// out = act(x).
// constants: WG
#include "part/activation.cuh"

struct Params { u32 count; };

KERNEL(activate)(const float* x, float* out, Params p, Variant v) {
    const u32 i = thread_index();
    if (i >= p.count) return;
    out[i] = activation(v.function, x[i]);
}
