// Scale (as f32 bits, rounded to its storage type) and zero point of groups whose bounds are multiplied by trained
// factors: the full-range rule of src/scheme/range.rs.
override WG: u32 = 64u;

struct Params { groups: u32, bits: u32, symmetric: u32, scale_type: u32 }

@group(0) @binding(0) var<storage, read> bounds: array<u32>;
@group(0) @binding(1) var<storage, read> factors: array<f32>;
@group(0) @binding(2) var<storage, read_write> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> zeros: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

fn stored(scale: f32) -> f32 {
    let rounded = round_to(scale, params.scale_type);
    // 2^-24 for f16, 2^-100 for the others.
    let smallest = bitcast<f32>(select(27u, 103u, params.scale_type == 1u) << 23u);
    if abs(rounded) < smallest { return select(smallest, -smallest, rounded < 0.0); }
    return rounded;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = (wg.y * count.x + wg.x) * WG + lid;
    if g >= params.groups { return; }
    let low_bits = bounds[2u * g];
    let low = bitcast<f32>(low_bits) * factors[2u * g];
    let high = bitcast<f32>(bounds[2u * g + 1u]) * factors[2u * g + 1u];
    let steps = (1u << params.bits) - 1u;
    let middle = 1u << (params.bits - 1u);
    var zero = middle;
    var scale: f32;
    if params.symmetric == 1u {
        scale = stored(-select(high, low, -low > high) / f32(middle));
    } else {
        scale = stored(2.0 * divide_exact(max(high, 0.0) * 0.5 - min(low, 0.0) * 0.5, steps));
        zero = u32(clamp(nearest_integer(-min(low, 0.0), scale, 0u, 0.0), 0, i32(steps)));
    }
    let fault = (low_bits & 0x7f800000u) == 0x7f800000u;
    scales[g] = select(bitcast<u32>(scale), 0x7fc00000u, fault);
    zeros[g] = select(zero, middle, fault);
}
