// out[out_offset + b * out_stride + row] = sum over blocks of f32(sum((code - zero) * x_code)) * scale * x_scale, and the
// bias, by tiles of 64 rows of x and 64 rows of w. A workgroup stages 16 quads of both at a time in workgroup memory; an
// invocation keeps 4x4 integer sums of a block and 4x4 sums of all blocks in registers.
const TILE = 64u;
const STEP = 16u;
const QUADS = TILE / 4u;
// One more than a column has, so that 16 invocations that write to 16 columns meet different memory banks.
const STRIDE = QUADS + 1u;

struct Params {
    batch: u32, rows: u32, cols: u32, group: u32, groups_per_row: u32, words_per_row: u32,
    block: u32, out_offset: u32, out_stride: u32, bias: u32,
}

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> x_scales: array<f32>;
@group(0) @binding(2) var<storage, read> x_sums: array<i32>;
@group(0) @binding(3) var<storage, read> codes: array<u32>;
@group(0) @binding(4) var<storage, read> scales: array<u32>;
@group(0) @binding(5) var<storage, read> zeros: array<u32>;
@group(0) @binding(6) var<storage, read> bias: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;

// [quad][four rows]: four neighbouring rows at one quad of columns.
var<workgroup> x_tile: array<vec4<u32>, STEP * STRIDE>;
var<workgroup> w_tile: array<vec4<u32>, STEP * STRIDE>;

fn dots(a: u32, b: vec4<u32>) -> vec4<i32> {
    return vec4(dot4I8Packed(a, b.x), dot4I8Packed(a, b.y), dot4I8Packed(a, b.z), dot4I8Packed(a, b.w));
}

// The sums of a block as f32, scaled: one row of x, four rows of w from `group` on.
fn scaled(sums: vec4<i32>, b: u32, block: u32, blocks: u32, offsets: vec4<i32>, w_scales: vec4<f32>) -> vec4<f32> {
    let i = min(b, params.batch - 1u) * blocks + block;
    return vec4<f32>(sums + offsets * x_sums[i]) * (w_scales * x_scales[i]);
}

// The sum of a column of the result and its bias, if there is one.
fn with_bias(sum: f32, column: u32) -> f32 {
    if params.bias == 0u { return sum; }
    return sum + bias[column];
}

fn store(b: u32, row: u32, sums: vec4<f32>) {
    if b >= params.batch { return; }
    for (var i = 0u; i < 4u; i++) {
        let column = params.out_offset + row + i;
        if row + i < params.rows { out[column + b * params.out_stride] = with_bias(sums[i], column); }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let across = (params.rows + TILE - 1u) / TILE;
    let tile = wg.y * count.x + wg.x;
    let first_b = tile / across * TILE;
    let first_row = tile % across * TILE;
    if first_b >= params.batch { return; }
    let blocks = (params.cols + params.block - 1u) / params.block;
    let block_words = (params.block + 3u) / 4u;
    // While loading: neighbouring invocations take neighbouring quads. Rows past the end repeat the last one and are not
    // written.
    let k = lane % STEP;
    let four = lane / STEP;
    let each = vec4(0u, 1u, 2u, 3u);
    let load_x = min(vec4(first_b + 4u * four) + each, vec4(params.batch - 1u)) * blocks;
    let load_w = min(vec4(first_row + 4u * four) + each, vec4(params.rows - 1u)) * params.words_per_row;
    // While adding: neighbouring invocations take neighbouring rows of w, that is columns of the result.
    let at_b = lane / QUADS;
    let at_row = lane % QUADS;
    let b = first_b + 4u * at_b;
    let row = first_row + 4u * at_row;
    let first_group = min(vec4(row) + each, vec4(params.rows - 1u)) * params.groups_per_row;
    var out0 = vec4<f32>();
    var out1 = vec4<f32>();
    var out2 = vec4<f32>();
    var out3 = vec4<f32>();
    for (var block = 0u; block < blocks; block++) {
        let start = block * params.block;
        let quads = (min(params.block, params.cols - start) + 3u) / 4u;
        var sums0 = vec4<i32>();
        var sums1 = vec4<i32>();
        var sums2 = vec4<i32>();
        var sums3 = vec4<i32>();
        for (var first = 0u; first < quads; first += STEP) {
            let quad = first + k;
            if quad < quads {
                let i = vec4(block) * block_words + vec4(quad) + load_x * block_words;
                let col = start + 4u * quad;
                x_tile[k * STRIDE + four] = vec4(x[i.x], x[i.y], x[i.z], x[i.w]);
                w_tile[k * STRIDE + four] =
                    vec4(quad_at(load_w.x, col), quad_at(load_w.y, col), quad_at(load_w.z, col), quad_at(load_w.w, col));
            }
            workgroupBarrier();
            for (var i = 0u; i < min(STEP, quads - first); i++) {
                let a = x_tile[i * STRIDE + at_b];
                let w = w_tile[i * STRIDE + at_row];
                sums0 += dots(a.x, w);
                sums1 += dots(a.y, w);
                sums2 += dots(a.z, w);
                sums3 += dots(a.w, w);
            }
            workgroupBarrier();
        }
        let g = first_group + vec4(start / params.group);
        let zero = vec4<i32>(vec4(zero_at(g.x), zero_at(g.y), zero_at(g.z), zero_at(g.w)));
        let offsets = vec4(quad_bias()) - zero;
        let w_scales = vec4(scale_at(g.x), scale_at(g.y), scale_at(g.z), scale_at(g.w));
        out0 += scaled(sums0, b, block, blocks, offsets, w_scales);
        out1 += scaled(sums1, b + 1u, block, blocks, offsets, w_scales);
        out2 += scaled(sums2, b + 2u, block, blocks, offsets, w_scales);
        out3 += scaled(sums3, b + 3u, block, blocks, offsets, w_scales);
    }
    store(b, row, out0);
    store(b + 1u, row, out1);
    store(b + 2u, row, out2);
    store(b + 3u, row, out3);
}
