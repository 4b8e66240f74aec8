// d_q = scale * sum over keys of p * (d_y v - delta) * k, delta = sum of p * (d_y v); stats = (log-sum-exp of the scores,
// delta). One workgroup a (sequence, query, head); keys in chunks of WG, twice: for the stats, and for the gradient.
override WG: u32 = 64u;

struct Params {
    sequences: u32, tokens: u32, heads: u32, kv_heads: u32, head_dim: u32, past: u32, capacity: u32, scale: f32, window: u32,
}

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> d_y: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_q: array<f32>;
@group(0) @binding(5) var<storage, read_write> stats: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

const MAX_HEAD_DIM = 256u;
// Below every score, and still finite when the largest score is taken from it.
const LOWEST = -3.0e38;

var<workgroup> query: array<f32, MAX_HEAD_DIM>;
var<workgroup> gradient: array<f32, MAX_HEAD_DIM>;
var<workgroup> sums: array<f32, MAX_HEAD_DIM>;
var<workgroup> slopes: array<f32, WG>;

// The score of a key and d_y times its value.
fn products(at: u32) -> vec2<f32> {
    var both = vec2<f32>();
    for (var d = 0u; d < params.head_dim; d++) { both += vec2(query[d] * k[at + d], gradient[d] * v[at + d]); }
    return vec2(both.x * params.scale, both.y);
}

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
        gradient[d] = d_y[group * head_dim + d];
        sums[d] = 0.0;
    }
    workgroupBarrier();
    var largest = LOWEST;
    var total = 0.0;
    var weighted = 0.0;
    for (var chunk = first; chunk <= position; chunk += WG) {
        let seen = chunk + lane <= position;
        var both = vec2(LOWEST, 0.0);
        if seen { both = products(start + (chunk + lane) * width); }
        let before = largest;
        largest = max(before, wg_max(both.x, lane));
        let weight = select(0.0, exp(both.x - largest), seen);
        let shrink = exp(before - largest);
        total = total * shrink + wg_sum(weight, lane);
        weighted = weighted * shrink + wg_sum(weight * both.y, lane);
    }
    let log_sum = largest + log(total);
    let delta = weighted / total;
    for (var chunk = first; chunk <= position; chunk += WG) {
        var slope = 0.0;
        if chunk + lane <= position {
            let both = products(start + (chunk + lane) * width);
            slope = exp(both.x - log_sum) * (both.y - delta) * params.scale;
        }
        slopes[lane] = slope;
        workgroupBarrier();
        let keys = min(WG, position + 1u - chunk);
        for (var d = lane; d < head_dim; d += WG) {
            var sum = sums[d];
            for (var j = 0u; j < keys; j++) { sum += slopes[j] * k[start + (chunk + j) * width + d]; }
            sums[d] = sum;
        }
        workgroupBarrier();
    }
    for (var d = lane; d < head_dim; d += WG) { d_q[group * head_dim + d] = sums[d]; }
    if lane == 0u {
        stats[2u * group] = log_sum;
        stats[2u * group + 1u] = delta;
    }
}
