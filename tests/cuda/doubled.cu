// `out = 2 x`, for tests of the device alone.
#include "part/prelude.cuh"

struct Params {
    u32 count, reserved[3];
};

KERNEL_OF(64, doubled)(const float* x, float* out, Params p, Variant) {
    if (thread_index() < p.count) out[thread_index()] = 2.0f * x[thread_index()];
}
