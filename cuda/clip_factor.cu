// norm = sqrt(sum of the sums); factor = min(1, most / norm). One block.
// constants: WG
#include "part/reduce.cuh"

struct Params { u32 count; float most; };

KERNEL(clip_factor)(const float* sums, float* out, Params p, Variant) {
    if (block_index() > 0) return;
    float sum = 0.0f;
    for (u32 i = threadIdx.x; i < p.count; i += blockDim.x) sum += sums[i];
    const float norm = sqrtf(block_sum(sum));
    if (threadIdx.x > 0) return;
    out[0] = norm > p.most ? p.most / norm : 1.0f;
    out[1] = norm;
}
