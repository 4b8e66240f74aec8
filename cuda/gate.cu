// out = act(gate) * up.
// constants: WG
#include "part/activation.cuh"

struct Params { u32 count; };

KERNEL(gate)(const float* gate, const float* up, float* out, Params p, Variant v) {
    const u32 i = thread_index();
    if (i >= p.count) return;
    out[i] = activation(v.function, gate[i]) * up[i];
}
