// d_q = scale * sum over keys of p * (d_y v - delta) * k, delta = sum of p * (d_y v); stats = (log-sum-exp of the scores,
// delta). One block a (sequence, query, head); keys in chunks of a block, twice: for the stats, and for the gradient.
// constants: WG
#include "part/attention.cuh"
#include "part/reduce.cuh"

KERNEL(attention_backward_q)(const float* q, const float* k, const float* v, const float* d_y, float* d_q, float* stats,
                             Attention p, Variant) {
    SHARED(float[MOST_HEAD_DIM], query);
    SHARED(float[MOST_HEAD_DIM], gradient);
    SHARED(float[MOST_HEAD_DIM], sums);
    SHARED(float[MOST_KEYS], slopes);
    const u32 group = block_index(), lane = threadIdx.x, head_dim = p.head_dim;
    const u32 row = group / p.heads;
    if (row >= p.sequences * p.tokens) return;
    const u32 position = p.past + row % p.tokens, width = p.kv_heads * head_dim;
    const u32 first = first_seen(p, position), start = first_key(p, row, group % p.heads);
    for (u32 d = lane; d < head_dim; d += blockDim.x) {
        query[d] = q[group * head_dim + d];
        gradient[d] = d_y[group * head_dim + d];
        sums[d] = 0.0f;
    }
    __syncthreads();
    float largest = LOWEST, total = 0.0f, weighted = 0.0f;
    for (u32 chunk = first; chunk <= position; chunk += blockDim.x) {
        const bool seen = chunk + lane <= position;
        const u32 at = start + (chunk + lane) * width;
        const float score = seen ? dot(query, k + at, head_dim) * p.scale : LOWEST;
        const float product = seen ? dot(gradient, v + at, head_dim) : 0.0f;
        const float before = largest;
        largest = fmaxf(before, block_max(score));
        const float weight = seen ? expf(score - largest) : 0.0f;
        const float shrink = expf(before - largest);
        total = total * shrink + block_sum(weight);
        weighted = weighted * shrink + block_sum(weight * product);
    }
    const float log_sum = largest + logf(total), delta = weighted / total;
    for (u32 chunk = first; chunk <= position; chunk += blockDim.x) {
        float slope = 0.0f;
        if (chunk + lane <= position) {
            const u32 at = start + (chunk + lane) * width;
            const float score = dot(query, k + at, head_dim) * p.scale;
            slope = expf(score - log_sum) * (dot(gradient, v + at, head_dim) - delta) * p.scale;
        }
        slopes[lane] = slope;
        __syncthreads();
        const u32 keys = min(blockDim.x, position + 1 - chunk);
        for (u32 d = lane; d < head_dim; d += blockDim.x) {
            float sum = sums[d];
            for (u32 j = 0; j < keys; j++) sum += slopes[j] * k[start + (chunk + j) * width + d];
            sums[d] = sum;
        }
        __syncthreads();
    }
    for (u32 d = lane; d < head_dim; d += blockDim.x) d_q[group * head_dim + d] = sums[d];
    if (lane > 0) return;
    stats[2 * group] = log_sum;
    stats[2 * group + 1] = delta;
}
