// Per row of logits: loss = log(sum(exp(row))) - row[target], d_row = factor * (softmax(row) - [1 at the target]), both 0
// where the target is NOT_SCORED. One block a row.
// constants: WG
#include "part/reduce.cuh"

struct Params { u32 rows, vocab; float factor; };

constexpr u32 NOT_SCORED = 0xffffffffu;

KERNEL(cross_entropy)(const float* logits, const u32* targets, float* d_logits, float* losses, Params p, Variant) {
    const u32 row = block_index();
    if (row >= p.rows) return;
    const u32 start = row * p.vocab;
    float most = -3.4028234e38f;
    for (u32 i = threadIdx.x; i < p.vocab; i += blockDim.x) most = fmaxf(most, logits[start + i]);
    most = block_max(most);
    float sum = 0.0f;
    for (u32 i = threadIdx.x; i < p.vocab; i += blockDim.x) sum += expf(logits[start + i] - most);
    sum = block_sum(sum);
    const u32 target = targets[row];
    const bool scored = target != NOT_SCORED;
    const float factor = scored ? p.factor : 0.0f;
    for (u32 i = threadIdx.x; i < p.vocab; i += blockDim.x) {
        const float hit = i == target ? 1.0f : 0.0f;
        d_logits[start + i] = factor * (expf(logits[start + i] - most) / sum - hit);
    }
    if (threadIdx.x == 0) losses[row] = scored ? (most - logits[start + target]) + logf(sum) : 0.0f;
}
