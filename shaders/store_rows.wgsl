// cache[sequence, first + token, col] = x[sequence * tokens + token, col].
override WG: u32 = 64u;

struct Params { sequences: u32, tokens: u32, cols: u32, capacity: u32, first: u32 }

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> cache: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = (wg.y * count.x + wg.x) * WG + lid;
    let block = params.tokens * params.cols;
    if i >= params.sequences * block { return; }
    cache[((i / block) * params.capacity + params.first) * params.cols + i % block] = x[i];
}
