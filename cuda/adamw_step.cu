// A step of AdamW: m += (1 - beta1) (gradient - m), v = beta2 v + (1 - beta2) gradient^2,
// parameter = clamp(keep * parameter - rate * m / (sqrt(v) * root + eps), low, high).
// constants: WG
#include "part/prelude.cuh"

struct Params { u32 count; float keep, rate, root, enter1, beta2, enter2, eps, low, high; };

KERNEL(adamw_step)(const float* gradient, float* parameter, float* first, float* second, Params p, Variant) {
    const u32 i = thread_index();
    if (i >= p.count) return;
    const float d = gradient[i];
    const float m = first[i] + p.enter1 * (d - first[i]);
    const float v = p.beta2 * second[i] + p.enter2 * (d * d);
    first[i] = m;
    second[i] = v;
    const float moved = p.keep * parameter[i] - p.rate * (m / (sqrtf(v) * p.root + p.eps));
    parameter[i] = clamp(moved, p.low, p.high);
}
