// d_weight[col] = sum over rows of d_y * (x - mean) * r; stats = (mean, r) of each row. One invocation a column.
override WG: u32 = 256u;

struct Params { rows: u32, cols: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> d_y: array<f32>;
@group(0) @binding(2) var<storage, read> stats: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_weight: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let col = (wg.y * count.x + wg.x) * WG + lid;
    if col >= params.cols { return; }
    var sum = 0.0;
    for (var row = 0u; row < params.rows; row++) {
        let i = row * params.cols + col;
        sum += d_y[i] * (x[i] - stats[2u * row]) * stats[2u * row + 1u];
    }
    d_weight[col] = sum;
}
