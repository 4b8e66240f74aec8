// inliers = x where flags[col] is 0, outliers = x rounded to f16 where it is not; zero elsewhere.
override WG: u32 = 256u;

struct Params { rows: u32, cols: u32 }

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> flags: array<u32>;
@group(0) @binding(2) var<storage, read_write> inliers: array<u32>;
@group(0) @binding(3) var<storage, read_write> outliers: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = (wg.y * count.x + wg.x) * WG + lid;
    if i >= params.rows * params.cols { return; }
    let bits = x[i];
    let size = bits & 0x7fffffffu;
    let apart = flags[i % params.cols] != 0u;
    // The bits of a NaN stay as they are; the sign goes with all else.
    var rounded = bits;
    if size <= 0x7f800000u {
        rounded = (bits & 0x80000000u) | bitcast<u32>(round_to(bitcast<f32>(size), 1u));
    }
    inliers[i] = select(bits, 0u, apart);
    outliers[i] = select(0u, rounded, apart);
}
