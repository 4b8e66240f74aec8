// Elements i and i + head_dim / 2 of each head turned by the table's angle for pair i. One invocation a pair.
override WG: u32 = 64u;

struct Params {
    sequences: u32, tokens: u32, heads: u32, head_dim: u32,
    first_position: u32, out_capacity: u32, out_first: u32, direction: f32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> table: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = (wg.y * count.x + wg.x) * WG + lid;
    let half = params.head_dim / 2u;
    let row = i / (params.heads * half);
    if row >= params.sequences * params.tokens { return; }
    let head = (i / half) % params.heads;
    let pair = i % half;
    let token = row % params.tokens;
    let slot = (row / params.tokens) * params.out_capacity + params.out_first + token;
    let turn = table[(params.first_position + token) * half + pair] * vec2(1.0, params.direction);
    let at = (row * params.heads + head) * params.head_dim + pair;
    let to = (slot * params.heads + head) * params.head_dim + pair;
    let a = x[at];
    let b = x[at + half];
    out[to] = a * turn.x - b * turn.y;
    out[to + half] = b * turn.x + a * turn.y;
}
