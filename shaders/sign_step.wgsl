// parameter = clamp(parameter - rate * sign(d), low, high), where d is the gradient or, with a momentum, the trace
// trace = momentum * trace + gradient.
override WG: u32 = 256u;

struct Params { count: u32, rate: f32, momentum: f32, low: f32, high: f32 }

@group(0) @binding(0) var<storage, read> gradient: array<f32>;
@group(0) @binding(1) var<storage, read_write> parameter: array<f32>;
@group(0) @binding(2) var<storage, read_write> trace: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = (wg.y * count.x + wg.x) * WG + lid;
    if i >= params.count { return; }
    var d = gradient[i];
    if params.momentum != 0.0 {
        d += params.momentum * trace[i];
        trace[i] = d;
    }
    let value = parameter[i];
    let moved = select(select(value, value + params.rate, d < 0.0), value - params.rate, d > 0.0);
    parameter[i] = clamp(moved, params.low, params.high);
}
