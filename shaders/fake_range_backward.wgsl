// Gradients of the factors of fake_range from the sums of fake_quant_backward, straight through the rounding of scale
// and zero point; see src/kernel/fake_range_backward.rs.
override WG: u32 = 64u;

struct Params { groups: u32, bits: u32, symmetric: u32, scale_type: u32 }

@group(0) @binding(0) var<storage, read> bounds: array<f32>;
@group(0) @binding(1) var<storage, read> factors: array<f32>;
@group(0) @binding(2) var<storage, read> scales: array<f32>;
@group(0) @binding(3) var<storage, read> sums: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_factors: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = (wg.y * count.x + wg.x) * WG + lid;
    if g >= params.groups { return; }
    var low = bounds[2u * g];
    var high = bounds[2u * g + 1u];
    let scale = scales[g];
    let floored = abs(scale) <= bitcast<f32>(select(27u, 103u, params.scale_type == 1u) << 23u);
    var d_scale = sums[2u * g];
    var d_low = 0.0;
    var d_high = 0.0;
    if params.symmetric == 1u {
        let d_extreme = select(-d_scale / f32(1u << (params.bits - 1u)), 0.0, floored);
        let takes_low = -(low * factors[2u * g]) > high * factors[2u * g + 1u];
        d_low = select(0.0, d_extreme, takes_low);
        d_high = select(d_extreme, 0.0, takes_low);
    } else {
        low = min(low, 0.0);
        high = max(high, 0.0);
        let d_zero = sums[2u * g + 1u];
        d_scale += d_zero * (low * factors[2u * g] / scale) / scale;
        let step = select(d_scale / f32((1u << params.bits) - 1u), 0.0, floored);
        d_low = -step - d_zero / scale;
        d_high = step;
    }
    d_factors[2u * g] = d_low * low;
    d_factors[2u * g + 1u] = d_high * high;
}
