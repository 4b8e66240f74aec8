// A step of AdamW: m += (1 - beta1) (gradient - m), v = beta2 v + (1 - beta2) gradient^2,
// parameter = clamp(keep * parameter - rate * m / (sqrt(v) * root + eps), low, high).
override WG: u32 = 256u;

struct Params {
    count: u32, keep: f32, rate: f32, root: f32, enter1: f32, beta2: f32, enter2: f32, eps: f32, low: f32, high: f32,
}

@group(0) @binding(0) var<storage, read> gradient: array<f32>;
@group(0) @binding(1) var<storage, read_write> parameter: array<f32>;
@group(0) @binding(2) var<storage, read_write> first: array<f32>;
@group(0) @binding(3) var<storage, read_write> second: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = (wg.y * count.x + wg.x) * WG + lid;
    if i >= params.count { return; }
    let d = gradient[i];
    let m = first[i] + params.enter1 * (d - first[i]);
    let v = params.beta2 * second[i] + params.enter2 * (d * d);
    first[i] = m;
    second[i] = v;
    let moved = params.keep * parameter[i] - params.rate * (m / (sqrt(v) * params.root + params.eps));
    parameter[i] = clamp(moved, params.low, params.high);
}
