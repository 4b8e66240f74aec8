// Gradients of the ranges of free_range; see src/kernel/free_range_backward.rs.
override WG: u32 = 64u;

struct Params { groups: u32, bits: u32, symmetric: u32, scale_type: u32 }

@group(0) @binding(0) var<storage, read> start: array<f32>;
@group(0) @binding(1) var<storage, read> scales: array<f32>;
@group(0) @binding(2) var<storage, read> sums: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_ranges: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = (wg.y * count.x + wg.x) * WG + lid;
    if g >= params.groups { return; }
    let floored = abs(scales[g]) <= bitcast<f32>(select(27u, 103u, params.scale_type == 1u) << 23u);
    d_ranges[2u * g] = select(sums[2u * g] * start[g], 0.0, floored);
    d_ranges[2u * g + 1u] = select(sums[2u * g + 1u], 0.0, params.symmetric == 1u);
}
