// out[col] = sum over rows of x[row, col]^2, or that added to what is there. One invocation a column.
override WG: u32 = 256u;

struct Params { rows: u32, cols: u32, accumulate: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let col = (wg.y * count.x + wg.x) * WG + lid;
    if col >= params.cols { return; }
    var sum = 0.0;
    for (var row = 0u; row < params.rows; row++) {
        let value = x[row * params.cols + col];
        sum += value * value;
    }
    if params.accumulate == 1u { out[col] += sum; } else { out[col] = sum; }
}
