// out = code * scale of int8 activations; see src/kernel/activation_quantize.rs for what lies where.
override WG: u32 = 256u;

struct Params { rows: u32, cols: u32, block: u32 }

@group(0) @binding(0) var<storage, read> codes: array<u32>;
@group(0) @binding(1) var<storage, read> scales: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = (wg.y * count.x + wg.x) * WG + lid;
    if i >= params.rows * params.cols { return; }
    let blocks = (params.cols + params.block - 1u) / params.block;
    let block_words = (params.block + 3u) / 4u;
    let col = i % params.cols;
    let block = (i / params.cols) * blocks + col / params.block;
    let k = col % params.block;
    // The byte comes to the top, from where its sign is carried down.
    let code = bitcast<i32>(codes[block * block_words + k / 4u] << (24u - 8u * (k % 4u))) >> 24u;
    out[i] = f32(code) * scales[block];
}
