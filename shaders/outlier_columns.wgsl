// flags[col] = 1 if any |x[row, col]| >= threshold, else 0; one invocation a column.
override WG: u32 = 64u;

struct Params { rows: u32, cols: u32, threshold: f32 }

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> flags: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let col = (wg.y * count.x + wg.x) * WG + lid;
    if col >= params.cols { return; }
    // Magnitudes order as their bits do, with infinities and NaN above all.
    var largest = 0u;
    for (var row = 0u; row < params.rows; row++) {
        largest = max(largest, x[row * params.cols + col] & 0x7fffffffu);
    }
    flags[col] = u32(largest >= bitcast<u32>(params.threshold));
}
