// out[row, col] = x[row, col] * scale[col] + shift[col].
override WG: u32 = 256u;

struct Params { rows: u32, cols: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> scale: array<f32>;
@group(0) @binding(2) var<storage, read> shift: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = (wg.y * count.x + wg.x) * WG + lid;
    if i >= params.rows * params.cols { return; }
    out[i] = x[i] * scale[i % params.cols] + shift[i % params.cols];
}
