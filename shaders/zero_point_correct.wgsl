// y[token, row] -= f32(zeros[token]) * scales[token] * row_sums[row].
override WG: u32 = 256u;

struct Params { tokens: u32, rows: u32 }

@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> scales: array<f32>;
@group(0) @binding(2) var<storage, read> zeros: array<i32>;
@group(0) @binding(3) var<storage, read> row_sums: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = (wg.y * count.x + wg.x) * WG + lid;
    if i >= params.tokens * params.rows { return; }
    let token = i / params.rows;
    y[i] -= f32(zeros[token]) * scales[token] * row_sums[i % params.rows];
}
