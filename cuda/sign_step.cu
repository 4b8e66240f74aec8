// parameter = clamp(parameter - rate * sign(d), low, high), where d is the gradient or, with a momentum, the trace
// trace = momentum * trace + gradient.
// constants: WG
#include "part/prelude.cuh"

struct Params { u32 count; float rate, momentum, low, high; };

KERNEL(sign_step)(const float* gradient, float* parameter, float* trace, Params p, Variant) {
    const u32 i = thread_index();
    if (i >= p.count) return;
    float d = gradient[i];
    if (p.momentum != 0.0f) {
        d += p.momentum * trace[i];
        trace[i] = d;
    }
    const float value = parameter[i];
    const float moved = d > 0.0f ? value - p.rate : d < 0.0f ? value + p.rate : value;
    parameter[i] = clamp(moved, p.low, p.high);
}
