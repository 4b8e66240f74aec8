// Smallest and largest value of each group of a weight, a zero always positive; both NaN where a value is not finite. LANES invocations share a
// group.
override WG: u32 = 64u;
override LANES: u32 = 16u;

struct Params { rows: u32, cols: u32, group: u32, groups_per_row: u32 }

@group(0) @binding(0) var<storage, read> w: array<u32>;
@group(0) @binding(1) var<storage, read_write> bounds: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> lows: array<f32, WG>;
var<workgroup> highs: array<f32, WG>;
var<workgroup> faults: array<u32, WG>;

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
            if (bits & 0x7f800000u) == 0x7f800000u { fault = 1u; }
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
    let ends = select(vec2(bitcast<u32>(low), bitcast<u32>(high)), vec2(0u), vec2(low, high) == vec2(0.0));
    bounds[2u * g] = select(ends.x, 0x7fc00000u, fault != 0u);
    bounds[2u * g + 1u] = select(ends.y, 0x7fc00000u, fault != 0u);
}
