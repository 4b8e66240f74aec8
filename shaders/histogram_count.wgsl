// Counts values in bins that span -2^e .. 2^e. Counts are whole numbers: the order of additions does not matter.
override WG: u32 = 256u;
override EACH: u32 = 8u;

struct Params { count: u32, bins: u32 }

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> range: array<u32>;
@group(0) @binding(2) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let first = (wg.y * count.x + wg.x) * WG * EACH + lid;
    let scale = bitcast<f32>((252u + countTrailingZeros(params.bins) - range[1]) << 23u);
    let middle = f32(params.bins / 2u);
    for (var k = 0u; k < EACH; k++) {
        let i = first + k * WG;
        if i >= params.count { break; }
        let bits = x[i];
        // Not NaN.
        if (bits & 0x7fffffffu) <= 0x7f800000u {
            let bin = clamp(floor(bitcast<f32>(bits) * scale), -middle, middle - 1.0) + middle;
            atomicAdd(&counts[u32(bin)], 1u);
        }
    }
}
