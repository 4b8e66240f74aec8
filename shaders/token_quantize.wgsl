// Codes of activations with a zero point, scale, zero point and sum of codes of each row, one workgroup a row; see
// src/kernel/token_quantize.rs.
override WG: u32 = 64u;

struct Params { rows: u32, cols: u32, scale: f32, zero: i32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> codes: array<u32>;
@group(0) @binding(2) var<storage, read_write> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> sums: array<i32>;
@group(0) @binding(4) var<storage, read_write> zeros: array<i32>;
@group(0) @binding(5) var<uniform> params: Params;

// The bits of the largest magnitude above and below zero; as integers they order as the numbers do, with infinities and
// NaN above all.
var<workgroup> above: atomic<u32>;
var<workgroup> below: atomic<u32>;
var<workgroup> total: atomic<i32>;

// Half of the number of these bits, or 0 for a tiny one. By bits: compilers may turn a half and a half into half the sum.
fn half_of(bits: u32) -> f32 {
    return select(0.0, bitcast<f32>(bits - 0x00800000u), bits >= 0x01000000u);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = wg.y * count.x + wg.x;
    if row >= params.rows { return; }
    let first = row * params.cols;
    var most = vec2(0u);
    for (var k = lane; k < params.cols; k += WG) {
        let bits = bitcast<u32>(x[first + k]);
        let size = bits & 0x7fffffffu;
        most = max(most, select(vec2(size, 0u), vec2(0u, size), (bits >> 31u) == 1u));
    }
    atomicMax(&above, most.x);
    atomicMax(&below, most.y);
    workgroupBarrier();
    most = vec2(atomicLoad(&above), atomicLoad(&below));
    let finite = max(most.x, most.y) < 0x7f800000u;
    var scale = 0.0;
    var zero = 0;
    if finite {
        scale = params.scale;
        zero = params.zero;
        if params.scale == 0.0 {
            // Halved first: the sum may be no f32.
            scale = 2.0 * divide_exact(half_of(most.x) + half_of(most.y), 255u);
            // 2^-100.
            if scale < bitcast<f32>(27u << 23u) {
                scale = 0.0;
            } else {
                zero = min(nearest_integer(bitcast<f32>(most.y), scale, 0u, 0.0), 255) - 128;
            }
        }
    }
    var sum = 0;
    for (var word = lane; word < (params.cols + 3u) / 4u; word += WG) {
        var packed = 0u;
        for (var j = 0u; j < 4u; j++) {
            let k = 4u * word + j;
            if scale > 0.0 && k < params.cols {
                let code = clamp(nearest_integer(x[first + k], scale, 0u, 0.0) + zero, -128, 127);
                packed |= (bitcast<u32>(code) & 0xffu) << (8u * j);
                sum += code;
            }
        }
        codes[row * ((params.cols + 3u) / 4u) + word] = packed;
    }
    atomicAdd(&total, sum);
    workgroupBarrier();
    if lane == 0u {
        scales[row] = select(0x7fc00000u, bitcast<u32>(scale), finite);
        sums[row] = atomicLoad(&total);
        zeros[row] = zero;
    }
}
