// d_table[row, col] = sum of d_y[places[k], col] for k in starts[row] .. starts[row + 1]. One invocation an element.
override WG: u32 = 64u;

struct Params { rows: u32, cols: u32 }

@group(0) @binding(0) var<storage, read> starts: array<u32>;
@group(0) @binding(1) var<storage, read> places: array<u32>;
@group(0) @binding(2) var<storage, read> d_y: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_table: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = (wg.y * count.x + wg.x) * WG + lid;
    if i >= params.rows * params.cols { return; }
    let row = i / params.cols;
    let col = i % params.cols;
    var sum = 0.0;
    for (var k = starts[row]; k < starts[row + 1u]; k++) { sum += d_y[places[k] * params.cols + col]; }
    d_table[i] = sum;
}
