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

// Queries of a tile and keys of a chunk, most features of a head that it takes, and floats from one row in shared memory
// to the next: neighbouring rows begin in different banks.
constexpr u32 TILE = 32, TILE_DIM = 128, STRIDE = TILE_DIM + 4, KEY_STRIDE = TILE + 4;

// Brings `count` rows of `head_dim` features to shared memory, and zeros up to a whole tile.
DEVICE void load_rows(float* to, const float* from, u32 count, u32 row_step, u32 head_dim) {
    const u32 quads = head_dim / 4;
    for (u32 i = threadIdx.x; i < TILE * quads; i += blockDim.x) {
        const u32 row = i / quads, d = i % quads * 4;
        float4 four = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (row < count) four = *reinterpret_cast<const float4*>(from + row * row_step + d);
        *reinterpret_cast<float4*>(to + row * STRIDE + d) = four;
    }
}

// The same for a tile of neighbouring queries at once, which share the keys and values that they read: heads of a multiple
// of 4 features, at most TILE_DIM. One block of 256 threads a (sequence, tile, head); each warp keeps four queries' sums.
KERNEL_OF(256, attention_tile)(const float* q, const float* k, const float* v, float* out, Attention p, Variant) {
    SHARED(float[TILE * STRIDE], queries);
    // Keys, then their values.
    SHARED(float[TILE * STRIDE], rows);
    // [key][query]: scores, then weights.
    SHARED(float[TILE * KEY_STRIDE], weights);
    const u32 tiles = (p.tokens + TILE - 1) / TILE, head_dim = p.head_dim;
    const u32 head = block_index() % p.heads, tile = block_index() / p.heads;
    if (tile >= p.sequences * tiles) return;
    const u32 token = tile % tiles * TILE, row = tile / tiles * p.tokens + token, count = min(TILE, p.tokens - token);
    const u32 width = p.kv_heads * head_dim, start = first_key(p, row, head);
    const u32 position = p.past + token, last = position + count - 1;
    // Scores: two queries by two keys a thread. Sums: four queries by four features.
    const u32 x = threadIdx.x % 16, y = threadIdx.x / 16, lane = threadIdx.x % 32, own = threadIdx.x / 32 * 4;
    load_rows(queries, q + (row * p.heads + head) * head_dim, count, p.heads * head_dim, head_dim);
    float largest[4], total[4], sums[4][4];
    UNROLL for (u32 i = 0; i < 4; i++) {
        largest[i] = LOWEST;
        total[i] = 0.0f;
        UNROLL for (u32 d = 0; d < 4; d++) sums[i][d] = 0.0f;
    }
    for (u32 chunk = first_seen(p, position); chunk <= last; chunk += TILE) {
        const u32 keys = min(TILE, last + 1 - chunk);
        __syncthreads();
        load_rows(rows, k + start + chunk * width, keys, width, head_dim);
        __syncthreads();
        float scores[2][2] = {};
        for (u32 d = 0; d < head_dim; d += 4) {
            float4 a[2], b[2];
            UNROLL for (u32 i = 0; i < 2; i++) {
                a[i] = *reinterpret_cast<const float4*>(queries + (y + 16 * i) * STRIDE + d);
                b[i] = *reinterpret_cast<const float4*>(rows + (x + 16 * i) * STRIDE + d);
            }
            UNROLL for (u32 i = 0; i < 2; i++)
                UNROLL for (u32 j = 0; j < 2; j++)
                    scores[i][j] += a[i].x * b[j].x + a[i].y * b[j].y + a[i].z * b[j].z + a[i].w * b[j].w;
        }
        UNROLL for (u32 i = 0; i < 2; i++) {
            UNROLL for (u32 j = 0; j < 2; j++) {
                const u32 at = position + y + 16 * i, key = chunk + x + 16 * j;
                const bool seen = key <= at && key <= last && key >= first_seen(p, at);
                weights[(x + 16 * j) * KEY_STRIDE + y + 16 * i] = seen ? scores[i][j] * p.scale : LOWEST;
            }
        }
        __syncthreads();
        load_rows(rows, v + start + chunk * width, keys, width, head_dim);
        UNROLL for (u32 i = 0; i < 4; i++) {
            float& weight = weights[lane * KEY_STRIDE + own + i];
            const float score = weight, before = largest[i];
            largest[i] = fmaxf(before, warp_reduce(score, 32, Most()));
            weight = score == LOWEST ? 0.0f : expf(score - largest[i]);
            const float shrink = expf(before - largest[i]);
            total[i] = total[i] * shrink + warp_reduce(weight, 32, Sum());
            UNROLL for (u32 d = 0; d < 4; d++) sums[i][d] *= shrink;
        }
        __syncthreads();
        if (4 * lane >= head_dim) continue;
        for (u32 key = 0; key < keys; key++) {
            const float4 w = *reinterpret_cast<const float4*>(weights + key * KEY_STRIDE + own);
            const float4 value = *reinterpret_cast<const float4*>(rows + key * STRIDE + 4 * lane);
            const float each[4] = {w.x, w.y, w.z, w.w};
            UNROLL for (u32 i = 0; i < 4; i++) {
                sums[i][0] += each[i] * value.x;
                sums[i][1] += each[i] * value.y;
                sums[i][2] += each[i] * value.z;
                sums[i][3] += each[i] * value.w;
            }
        }
    }
    if (4 * lane >= head_dim) return;
    UNROLL for (u32 i = 0; i < 4; i++) {
        if (own + i >= count) continue;
        float4* to = reinterpret_cast<float4*>(out + ((row + own + i) * p.heads + head) * head_dim + 4 * lane);
        *to = make_float4(sums[i][0] / total[i], sums[i][1] / total[i], sums[i][2] / total[i], sums[i][3] / total[i]);
    }
}
