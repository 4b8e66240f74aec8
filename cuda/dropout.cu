// out = x * factor where the element is kept, else 0: it is kept if a number drawn from seed and position is at least `rate`.
// constants: WG
#include "part/exact.cuh"

struct Params { u32 count, seed; float rate, factor; };

KERNEL(dropout)(const float* x, float* out, Params p, Variant) {
    const u32 i = thread_index();
    if (i >= p.count) return;
    out[i] = uniform_at(p.seed, i) >= p.rate ? x[i] * p.factor : 0.0f;
}
