// out[out_offset + row * cols + col] = (code - zero) * scale, in f32.
override WG: u32 = 64u;

struct Params { rows: u32, cols: u32, group: u32, groups_per_row: u32, words_per_row: u32, out_offset: u32 }

@group(0) @binding(0) var<storage, read> codes: array<u32>;
@group(0) @binding(1) var<storage, read> scales: array<u32>;
@group(0) @binding(2) var<storage, read> zeros: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = (wg.y * count.x + wg.x) * WG + lid;
    if i >= params.rows * params.cols { return; }
    let row = i / params.cols;
    let col = i % params.cols;
    let g = row * params.groups_per_row + col / params.group;
    let code = f32(code_at(row * params.words_per_row, col));
    out[params.out_offset + i] = (code - zero_at(g)) * scale_at(g);
}
