// d_gate = slope(gate) * up * d_y, d_up = act(gate) * d_y.
// constants: WG
#include "part/activation.cuh"

struct Params { u32 count; };

KERNEL(gate_backward)(const float* gate, const float* up, const float* d_y, float* d_gate, float* d_up, Params p, Variant v) {
    const u32 i = thread_index();
    if (i >= p.count) return;
    d_gate[i] = slope(v.slope, gate[i]) * up[i] * d_y[i];
    d_up[i] = activation(v.function, gate[i]) * d_y[i];
}
