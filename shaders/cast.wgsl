// Elements of `w` in another storage type, TO: 0 f32, 1 f16, 2 bf16; half to even. One invocation writes one word.
override WG: u32 = 64u;
override TO: u32 = 1u;

struct Params { count: u32 }

@group(0) @binding(0) var<storage, read> w: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

// The 16 bits of element i, 0 past the end.
fn narrow(i: u32) -> u32 {
    if i >= params.count { return 0u; }
    let bits = w_bits(i);
    let size = bits & 0x7fffffffu;
    let sign = (bits >> 16u) & 0x8000u;
    if size > 0x7f800000u {
        // NaN: quiet, with the upper bits of its payload.
        return sign | select(0x7e00u | ((size >> 13u) & 0x03ffu), 0x0040u | (size >> 16u), TO == 2u);
    }
    let rounded = bitcast<u32>(round_to(bitcast<f32>(size), TO));
    if TO == 2u { return sign | (rounded >> 16u); }
    if rounded >= 0x7f800000u { return sign | 0x7c00u; }
    if rounded < 0x38800000u { return sign | u32(bitcast<f32>(rounded) * 16777216.0); }
    return sign | ((rounded - 0x38000000u) >> 13u);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = (wg.y * count.x + wg.x) * WG + lid;
    if TO == 0u {
        if i < params.count { out[i] = w_bits(i); }
    } else if 2u * i < params.count {
        out[i] = narrow(2u * i) | (narrow(2u * i + 1u) << 16u);
    }
}
