// y[token, row] += sum over flagged columns of x[token, col] * w[row, col], in f32 and in the order of the columns.
override WG: u32 = 64u;

struct Params { batch: u32, rows: u32, cols: u32, out_offset: u32, out_stride: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> flags: array<u32>;
@group(0) @binding(2) var<storage, read> w: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = (wg.y * count.x + wg.x) * WG + lid;
    if i >= params.batch * params.rows { return; }
    let token = i / params.rows;
    let row = i % params.rows;
    var sum = 0.0;
    for (var col = 0u; col < params.cols; col++) {
        if flags[col] == 0u { continue; }
        sum += x[token * params.cols + col] * bitcast<f32>(w_bits(row * params.cols + col));
    }
    y[token * params.out_stride + params.out_offset + row] += sum;
}
