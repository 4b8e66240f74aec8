// Causal attention with grouped heads over a key/value cache: one block a (sequence, query, head), online softmax over
// chunks of as many keys as the block has threads, at most 64.
// constants: WG
#include "part/attention.cuh"
#include "part/reduce.cuh"

KERNEL(attention)(const float* q, const float* k, const float* v, float* out, Attention p, Variant) {
    SHARED(float[MOST_HEAD_DIM], query);
    SHARED(float[MOST_HEAD_DIM], sums);
    SHARED(float[MOST_KEYS], weights);
    const u32 group = block_index(), lane = threadIdx.x, head_dim = p.head_dim;
    const u32 row = group / p.heads;
    if (row >= p.sequences * p.tokens) return;
    const u32 position = p.past + row % p.tokens, width = p.kv_heads * head_dim;
    const u32 start = first_key(p, row, group % p.heads);
    for (u32 d = lane; d < head_dim; d += blockDim.x) {
        query[d] = q[group * head_dim + d];
        sums[d] = 0.0f;
    }
    __syncthreads();
    float largest = LOWEST, total = 0.0f;
    for (u32 chunk = first_seen(p, position); chunk <= position; chunk += blockDim.x) {
        const bool seen = chunk + lane <= position;
        const float score = seen ? dot(query, k + start + (chunk + lane) * width, head_dim) * p.scale : LOWEST;
        const float before = largest;
        largest = fmaxf(before, block_max(score));
        const float weight = seen ? expf(score - largest) : 0.0f;
        const float shrink = expf(before - largest);
        weights[lane] = weight;
        // The barriers within also publish the weights.
        total = total * shrink + block_sum(weight);
        const u32 keys = min(blockDim.x, position + 1 - chunk);
        for (u32 d = lane; d < head_dim; d += blockDim.x) {
            float sum = sums[d] * shrink;
            for (u32 j = 0; j < keys; j++) sum += weights[j] * v[start + (chunk + j) * width + d];
            sums[d] = sum;
        }
        __syncthreads();
    }
    for (u32 d = lane; d < head_dim; d += blockDim.x) out[group * head_dim + d] = sums[d] / total;
}
