// out = (code - zero) * scale with code = clamp(round(w / scale + offset) + zero, 0, 2^bits - 1).
override WG: u32 = 64u;

struct Params { rows: u32, cols: u32, group: u32, groups_per_row: u32, bits: u32 }

@group(0) @binding(0) var<storage, read> w: array<u32>;
@group(0) @binding(1) var<storage, read> offsets: array<f32>;
@group(0) @binding(2) var<storage, read> scales: array<f32>;
@group(0) @binding(3) var<storage, read> zeros: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = (wg.y * count.x + wg.x) * WG + lid;
    if i >= params.rows * params.cols { return; }
    let g = (i / params.cols) * params.groups_per_row + (i % params.cols) / params.group;
    let zero = i32(zeros[g]);
    let code = clamp(nearest_shifted(w_at(i), scales[g], offsets[i]) + zero, 0, i32((1u << params.bits) - 1u));
    out[i] = f32(code - zero) * scales[g];
}
