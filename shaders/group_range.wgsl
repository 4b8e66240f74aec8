// Scale (as f32 bits, rounded to its storage type) and zero point of each group of a weight, by a range rule:
// 0 full-range, 1 2n-1, 2 restricted, 3 raw; see src/scheme/range.rs. LANES invocations share a group.
override WG: u32 = 64u;
override LANES: u32 = 16u;

struct Params { rows: u32, cols: u32, group: u32, groups_per_row: u32, bits: u32, symmetric: u32, rule: u32, scale_type: u32 }

@group(0) @binding(0) var<storage, read> w: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> zeros: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> lows: array<f32, WG>;
var<workgroup> highs: array<f32, WG>;
var<workgroup> faults: array<u32, WG>;

fn stored(scale: f32) -> f32 {
    let rounded = round_to(scale, params.scale_type);
    // 2^-24 for f16, 2^-100 for the others.
    let smallest = bitcast<f32>(select(27u, 103u, params.scale_type == 1u) << 23u);
    if abs(rounded) < smallest { return select(smallest, -smallest, rounded < 0.0); }
    return rounded;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = (wg.y * count.x + wg.x) * (WG / LANES) + lid / LANES;
    let lane = lid % LANES;
    let inside = g < params.rows * params.groups_per_row;
    var low = 3.4028234e38;
    var high = -3.4028234e38;
    var fault = 0u;
    if inside {
        let col = (g % params.groups_per_row) * params.group;
        let start = (g / params.groups_per_row) * params.cols + col;
        let length = min(params.group, params.cols - col);
        for (var i = lane; i < length; i += LANES) {
            let bits = w_bits(start + i);
            if (bits & 0x7f800000u) == 0x7f800000u { fault = bits; }
            low = min(low, bitcast<f32>(bits));
            high = max(high, bitcast<f32>(bits));
        }
    }
    lows[lid] = low;
    highs[lid] = high;
    faults[lid] = fault;
    workgroupBarrier();
    if lane != 0u || !inside { return; }
    for (var i = 1u; i < LANES; i++) {
        low = min(low, lows[lid + i]);
        high = max(high, highs[lid + i]);
        fault |= faults[lid + i];
    }
    let steps = (1u << params.bits) - 1u;
    let middle = 1u << (params.bits - 1u);
    var zero = middle;
    var scale: f32;
    if params.symmetric == 1u {
        let extreme = select(high, low, -low > high);
        switch params.rule {
            case 1u: { scale = 4.0 * divide_exact(abs(extreme) * 0.5, steps); }
            case 2u: { scale = divide_exact(abs(extreme), steps / 2u); }
            default: { scale = -extreme / f32(middle); }
        }
        scale = stored(scale);
    } else {
        if params.rule != 3u {
            low = min(low, 0.0);
            high = max(high, 0.0);
        }
        scale = stored(2.0 * divide_exact(high * 0.5 - low * 0.5, steps));
        zero = u32(clamp(nearest_integer(-low, scale, 0u, 0.0), 0, i32(steps)));
    }
    if fault != 0u {
        zero = middle;
        scales[g] = fault | 0x7fc00000u;
    } else {
        scales[g] = bitcast<u32>(scale);
    }
    zeros[g] = zero;
}
