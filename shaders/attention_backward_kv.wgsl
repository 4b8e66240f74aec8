// d_k = scale * sum of p * (d_y v - delta) * q, d_v = sum of p * d_y, over the queries and heads that see the key; stats =
// (log-sum-exp of the scores, delta) of each. One workgroup a (sequence, slot, key head).
override WG: u32 = 64u;

struct Params {
    sequences: u32, tokens: u32, heads: u32, kv_heads: u32, head_dim: u32, past: u32, capacity: u32, scale: f32, window: u32,
}

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> d_y: array<f32>;
@group(0) @binding(4) var<storage, read> stats: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_k: array<f32>;
@group(0) @binding(6) var<storage, read_write> d_v: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

const MAX_HEAD_DIM = 256u;

var<workgroup> key: array<f32, MAX_HEAD_DIM>;
var<workgroup> value: array<f32, MAX_HEAD_DIM>;
var<workgroup> key_sums: array<f32, MAX_HEAD_DIM>;
var<workgroup> value_sums: array<f32, MAX_HEAD_DIM>;
// Of each query of a chunk: where it lies, and what its parts are multiplied by for the key and for the value.
var<workgroup> rows: array<u32, WG>;
var<workgroup> factors: array<vec2<f32>, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let group = wg.y * count.x + wg.x;
    let head_dim = params.head_dim;
    let slot = group / params.kv_heads;
    if slot >= params.sequences * params.capacity { return; }
    let position = slot % params.capacity;
    let shared_heads = params.heads / params.kv_heads;
    let first_head = group % params.kv_heads * shared_heads;
    // The queries that see the position, by number.
    let first = max(position, params.past) - params.past;
    var end = params.tokens;
    if params.window != 0u { end = max(min(position + params.window, params.past + params.tokens), params.past) - params.past; }
    let first_pair = first * shared_heads;
    let end_pair = max(end, first) * shared_heads;
    for (var d = lane; d < head_dim; d += WG) {
        // What nobody sees may hold anything, and is not used.
        key[d] = k[group * head_dim + d];
        value[d] = v[group * head_dim + d];
        key_sums[d] = 0.0;
        value_sums[d] = 0.0;
    }
    workgroupBarrier();
    for (var chunk = first_pair; chunk < end_pair; chunk += WG) {
        let pair = chunk + lane;
        if pair < end_pair {
            let row = (slot / params.capacity * params.tokens + pair / shared_heads) * params.heads + first_head + pair % shared_heads;
            var both = vec2<f32>();
            for (var d = 0u; d < head_dim; d++) {
                both += vec2(q[row * head_dim + d] * key[d], d_y[row * head_dim + d] * value[d]);
            }
            let weight = exp(both.x * params.scale - stats[2u * row]);
            rows[lane] = row;
            factors[lane] = vec2(weight * (both.y - stats[2u * row + 1u]) * params.scale, weight);
        }
        workgroupBarrier();
        let pairs = min(WG, end_pair - chunk);
        for (var d = lane; d < head_dim; d += WG) {
            var sums = vec2(key_sums[d], value_sums[d]);
            for (var j = 0u; j < pairs; j++) {
                let at = rows[j] * head_dim + d;
                sums += factors[j] * vec2(q[at], d_y[at]);
            }
            key_sums[d] = sums.x;
            value_sums[d] = sums.y;
        }
        workgroupBarrier();
    }
    for (var d = lane; d < head_dim; d += WG) {
        d_k[group * head_dim + d] = key_sums[d];
        d_v[group * head_dim + d] = value_sums[d];
    }
}
