// Index of the largest value of each row, the lowest such index on ties. One workgroup a row.
override WG: u32 = 256u;

struct Params { rows: u32, cols: u32 }

@group(0) @binding(0) var<storage, read> values: array<u32>;
@group(0) @binding(1) var<storage, read_write> indices: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = wg.y * count.x + wg.x;
    if row >= params.rows { return; }
    var best = NOTHING_LARGE;
    for (var i = lane; i < params.cols; i += WG) { best = larger(best, vec2(order(values[row * params.cols + i]), i)); }
    let index = wg_largest(best, lane);
    if lane == 0u { indices[row] = index; }
}
