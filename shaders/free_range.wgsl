// Scale (as f32 bits, rounded to its storage type) and zero point of groups that are trained by themselves.
override WG: u32 = 64u;

struct Params { groups: u32, bits: u32, symmetric: u32, scale_type: u32 }

@group(0) @binding(0) var<storage, read> start: array<f32>;
@group(0) @binding(1) var<storage, read> ranges: array<f32>;
@group(0) @binding(2) var<storage, read_write> scales: array<f32>;
@group(0) @binding(3) var<storage, read_write> zeros: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = (wg.y * count.x + wg.x) * WG + lid;
    if g >= params.groups { return; }
    var scale = round_to(start[g] * ranges[2u * g], params.scale_type);
    // 2^-24 for f16, 2^-100 for the others.
    let smallest = bitcast<f32>(select(27u, 103u, params.scale_type == 1u) << 23u);
    if abs(scale) < smallest { scale = select(smallest, -smallest, scale < 0.0); }
    scales[g] = scale;
    let most = f32((1u << params.bits) - 1u);
    let nearest = u32(clamp(round(ranges[2u * g + 1u]), 0.0, most));
    zeros[g] = select(nearest, 1u << (params.bits - 1u), params.symmetric == 1u);
}
