// Per row of logits: log(sum(exp(row))) - row[target], or 0 where the target is NOT_SCORED. One block a row.
// constants: WG
#include "part/reduce.cuh"

struct Params { u32 rows, vocab; };

constexpr u32 NOT_SCORED = 0xffffffffu;

KERNEL(softmax_loss)(const float* logits, const u32* targets, float* losses, Params p, Variant) {
    const u32 row = block_index();
    if (row >= p.rows) return;
    const u32 start = row * p.vocab;
    float most = -3.4028234e38f;
    for (u32 i = threadIdx.x; i < p.vocab; i += blockDim.x) most = fmaxf(most, logits[start + i]);
    most = block_max(most);
    float sum = 0.0f;
    for (u32 i = threadIdx.x; i < p.vocab; i += blockDim.x) sum += expf(logits[start + i] - most);
    sum = block_sum(sum);
    if (threadIdx.x > 0) return;
    const u32 target = targets[row];
    // The large terms first: their difference is exact or nearly so, their sum with the logarithm is not.
    losses[row] = target == NOT_SCORED ? 0.0f : (most - logits[start + target]) + logf(sum);
}
