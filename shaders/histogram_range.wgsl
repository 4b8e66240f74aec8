// The exponent of the range of a histogram that holds what it held and values between some ends; range = (before, from now
// on). One workgroup.
override WG: u32 = 256u;

struct Params { cols: u32 }

@group(0) @binding(0) var<storage, read> ends: array<f32>;
@group(0) @binding(1) var<storage, read_write> range: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

fn run(group: u32, lane: u32) {
    var most = 0.0;
    for (var i = lane; i < 2u * params.cols; i += WG) { most = max(most, abs(ends[i])); }
    most = wg_max(most, lane);
    if lane == 0u {
        let before = range[1];
        range[0] = before;
        range[1] = max(before, clamp(bitcast<u32>(most) >> 23u, 27u, 254u));
    }
}
