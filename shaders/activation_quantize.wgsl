// Codes of activations, scale and sum of codes of each block, one workgroup a block; see src/kernel/activation_quantize.rs.
override WG: u32 = 64u;

struct Params { rows: u32, cols: u32, block: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> codes: array<u32>;
@group(0) @binding(2) var<storage, read_write> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> sums: array<i32>;
@group(0) @binding(4) var<uniform> params: Params;

// The bits of the largest magnitude; as integers they order as the numbers do, with infinities and NaN above all.
var<workgroup> largest: atomic<u32>;
var<workgroup> total: atomic<i32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let blocks = (params.cols + params.block - 1u) / params.block;
    let block_words = (params.block + 3u) / 4u;
    let i = wg.y * count.x + wg.x;
    if i >= params.rows * blocks { return; }
    let col = (i % blocks) * params.block;
    let length = min(params.block, params.cols - col);
    let first = (i / blocks) * params.cols + col;
    var most = 0u;
    for (var k = lane; k < length; k += WG) { most = max(most, bitcast<u32>(x[first + k]) & 0x7fffffffu); }
    atomicMax(&largest, most);
    workgroupBarrier();
    most = atomicLoad(&largest);
    let finite = most < 0x7f800000u;
    var scale = 0.0;
    if finite { scale = divide_exact(bitcast<f32>(most), 127u); }
    // 2^-100.
    let counts = scale >= bitcast<f32>(27u << 23u);
    if !counts { scale = 0.0; }
    var sum = 0;
    for (var word = lane; word < block_words; word += WG) {
        var packed = 0u;
        for (var j = 0u; j < 4u; j++) {
            let k = 4u * word + j;
            if counts && k < length {
                let code = clamp(nearest_integer(x[first + k], scale, 0u, 0.0), -127, 127);
                packed |= (bitcast<u32>(code) & 0xffu) << (8u * j);
                sum += code;
            }
        }
        codes[i * block_words + word] = packed;
    }
    atomicAdd(&total, sum);
    workgroupBarrier();
    if lane == 0u {
        scales[i] = select(0x7fc00000u, bitcast<u32>(scale), finite);
        sums[i] = atomicLoad(&total);
    }
}
