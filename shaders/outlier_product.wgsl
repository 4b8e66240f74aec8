// y[token, row] += sum over flagged columns of x[token, col] * (code - zero) * scale, in f32 and in the order of the columns.
override WG: u32 = 64u;

struct Params {
    batch: u32, rows: u32, cols: u32, group: u32, groups_per_row: u32, words_per_row: u32, out_offset: u32, out_stride: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> flags: array<u32>;
@group(0) @binding(2) var<storage, read> codes: array<u32>;
@group(0) @binding(3) var<storage, read> scales: array<u32>;
@group(0) @binding(4) var<storage, read> zeros: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = (wg.y * count.x + wg.x) * WG + lid;
    if i >= params.batch * params.rows { return; }
    let token = i / params.rows;
    let row = i % params.rows;
    var sum = 0.0;
    for (var col = 0u; col < params.cols; col++) {
        if flags[col] == 0u { continue; }
        let g = row * params.groups_per_row + col / params.group;
        let weight = (f32(code_at(row * params.words_per_row, col)) - zero_at(g)) * scale_at(g);
        sum += x[token * params.cols + col] * weight;
    }
    y[token * params.out_stride + params.out_offset + row] += sum;
}
