// Causal attention with grouped heads over a key/value cache: one workgroup a (sequence, query, head), online softmax
// over chunks of WG keys.
override WG: u32 = 64u;

struct Params {
    sequences: u32, tokens: u32, heads: u32, kv_heads: u32, head_dim: u32, past: u32, capacity: u32, scale: f32, window: u32,
}

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

const MAX_HEAD_DIM = 256u;
// Below every score, and still finite when the largest score is taken from it.
const LOWEST = -3.0e38;

var<workgroup> query: array<f32, MAX_HEAD_DIM>;
var<workgroup> sums: array<f32, MAX_HEAD_DIM>;
var<workgroup> weights: array<f32, WG>;

fn run(group: u32, lane: u32) {
    let head_dim = params.head_dim;
    let row = group / params.heads;
    if row >= params.sequences * params.tokens { return; }
    let head = group % params.heads;
    let position = params.past + row % params.tokens;
    var first = 0u;
    if params.window != 0u && position >= params.window { first = position + 1u - params.window; }
    let width = params.kv_heads * head_dim;
    let start = row / params.tokens * params.capacity * width + head / (params.heads / params.kv_heads) * head_dim;
    for (var d = lane; d < head_dim; d += WG) {
        query[d] = q[group * head_dim + d];
        sums[d] = 0.0;
    }
    workgroupBarrier();
    var largest = LOWEST;
    var total = 0.0;
    for (var chunk = first; chunk <= position; chunk += WG) {
        let seen = chunk + lane <= position;
        var score = LOWEST;
        if seen {
            let key = start + (chunk + lane) * width;
            score = 0.0;
            for (var d = 0u; d < head_dim; d++) { score += query[d] * k[key + d]; }
            score *= params.scale;
        }
        let before = largest;
        largest = max(before, wg_max(score, lane));
        let weight = select(0.0, exp(score - largest), seen);
        let shrink = exp(before - largest);
        weights[lane] = weight;
        // The barriers within also publish the weights.
        total = total * shrink + wg_sum(weight, lane);
        let keys = min(WG, position + 1u - chunk);
        for (var d = lane; d < head_dim; d += WG) {
            var sum = sums[d] * shrink;
            for (var j = 0u; j < keys; j++) { sum += weights[j] * v[start + (chunk + j) * width + d]; }
            sums[d] = sum;
        }
        workgroupBarrier();
    }
    for (var d = lane; d < head_dim; d += WG) { out[group * head_dim + d] = sums[d] / total; }
}
