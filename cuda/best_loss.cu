// loss = factor * sum of sums. state: the best loss, whether this loss is better, the iteration of the best one, this
// loss. One block.
// constants: WG
#include "part/reduce.cuh"

struct Params { u32 count; float factor; u32 iteration; };

KERNEL(best_loss)(const float* sums, u32* state, Params p, Variant) {
    if (block_index() > 0) return;
    float sum = 0.0f;
    for (u32 i = threadIdx.x; i < p.count; i += blockDim.x) sum += sums[i];
    const float loss = p.factor * block_sum(sum);
    if (threadIdx.x > 0) return;
    const bool better = loss < float_of(state[0]);
    if (better) {
        state[0] = bits_of(loss);
        state[2] = p.iteration;
    }
    state[1] = u32(better);
    state[3] = bits_of(loss);
}
