// d_k = scale * sum of p * (d_y v - delta) * q, d_v = sum of p * d_y, over the queries and heads that see the key; stats =
// (log-sum-exp of the scores, delta) of each. One block a (sequence, slot, key head).
// constants: WG
#include "part/attention.cuh"

KERNEL(attention_backward_kv)(const float* q, const float* k, const float* v, const float* d_y, const float* stats, float* d_k,
                              float* d_v, Attention p, Variant) {
    SHARED(float[MOST_HEAD_DIM], key);
    SHARED(float[MOST_HEAD_DIM], value);
    SHARED(float[MOST_HEAD_DIM], key_sums);
    SHARED(float[MOST_HEAD_DIM], value_sums);
    // Of each query of a chunk: where it lies, and what its parts are multiplied by for the key and for the value.
    SHARED(u32[MOST_KEYS], rows);
    SHARED(float[MOST_KEYS], key_factors);
    SHARED(float[MOST_KEYS], value_factors);
    const u32 group = block_index(), lane = threadIdx.x, head_dim = p.head_dim;
    const u32 slot = group / p.kv_heads;
    if (slot >= p.sequences * p.capacity) return;
    const u32 position = slot % p.capacity, shared_heads = p.heads / p.kv_heads;
    const u32 first_head = group % p.kv_heads * shared_heads;
    // The queries that see the position, by number.
    const u32 first = max(position, p.past) - p.past;
    u32 end = p.tokens;
    if (p.window != 0) end = max(min(position + p.window, p.past + p.tokens), p.past) - p.past;
    const u32 end_pair = max(end, first) * shared_heads;
    for (u32 d = lane; d < head_dim; d += blockDim.x) {
        // What nobody sees may hold anything, and is not used.
        key[d] = k[group * head_dim + d];
        value[d] = v[group * head_dim + d];
        key_sums[d] = 0.0f;
        value_sums[d] = 0.0f;
    }
    __syncthreads();
    for (u32 chunk = first * shared_heads; chunk < end_pair; chunk += blockDim.x) {
        const u32 pair = chunk + lane;
        if (pair < end_pair) {
            const u32 token = slot / p.capacity * p.tokens + pair / shared_heads;
            const u32 row = token * p.heads + first_head + pair % shared_heads;
            const float score = dot(key, q + row * head_dim, head_dim) * p.scale;
            const float product = dot(value, d_y + row * head_dim, head_dim);
            const float weight = expf(score - stats[2 * row]);
            rows[lane] = row;
            key_factors[lane] = weight * (product - stats[2 * row + 1]) * p.scale;
            value_factors[lane] = weight;
        }
        __syncthreads();
        const u32 pairs = min(blockDim.x, end_pair - chunk);
        for (u32 d = lane; d < head_dim; d += blockDim.x) {
            float key_sum = key_sums[d], value_sum = value_sums[d];
            for (u32 j = 0; j < pairs; j++) {
                const u32 at = rows[j] * head_dim + d;
                key_sum += key_factors[j] * q[at];
                value_sum += value_factors[j] * d_y[at];
            }
            key_sums[d] = key_sum;
            value_sums[d] = value_sum;
        }
        __syncthreads();
    }
    for (u32 d = lane; d < head_dim; d += blockDim.x) {
        d_k[group * head_dim + d] = key_sums[d];
        d_v[group * head_dim + d] = value_sums[d];
    }
}
