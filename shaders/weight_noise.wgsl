// out = x + share * scale of its group * (u - 1/2), u being a number in (0, 1) drawn from seed and position.
override WG: u32 = 256u;

struct Params { count: u32, cols: u32, group: u32, groups_per_row: u32, share: f32, seed: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> scales: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = (wg.y * count.x + wg.x) * WG + lid;
    if i >= params.count { return; }
    let group = (i / params.cols) * params.groups_per_row + (i % params.cols) / params.group;
    out[i] = x[i] + params.share * scales[group] * (uniform_at(params.seed, i) - 0.5);
}
