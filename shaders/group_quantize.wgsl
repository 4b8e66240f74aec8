// Codes of a weight under given scales and zero points, packed as a dense bit stream per row:
// code = clamp(round(w / scale) + zero, min_code, 2^bits - 1). One invocation takes 32 columns, that is `bits` words.
override WG: u32 = 64u;

struct Params {
    rows: u32, cols: u32, group: u32, groups_per_row: u32, words_per_row: u32,
    bits: u32, min_code: u32, rounding: u32, seed: u32, first_element: u32,
}

@group(0) @binding(0) var<storage, read> w: array<u32>;
@group(0) @binding(1) var<storage, read> scales: array<f32>;
@group(0) @binding(2) var<storage, read> zeros: array<u32>;
@group(0) @binding(3) var<storage, read_write> codes: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

fn code_of(row: u32, col: u32) -> u32 {
    let g = row * params.groups_per_row + col / params.group;
    let i = row * params.cols + col;
    var chance = 0.0;
    if params.rounding == 2u { chance = uniform_at(params.seed, params.first_element + i); }
    let steps = nearest_integer(w_at(i), scales[g], params.rounding, chance);
    return u32(clamp(steps + i32(zeros[g]), i32(params.min_code), i32((1u << params.bits) - 1u)));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let blocks = (params.cols + 31u) / 32u;
    let i = (wg.y * count.x + wg.x) * WG + lid;
    let row = i / blocks;
    if row >= params.rows { return; }
    let col = (i % blocks) * 32u;
    let end = (row + 1u) * params.words_per_row;
    var word = row * params.words_per_row + (i % blocks) * params.bits;
    var pending = 0u;
    var filled = 0u;
    for (var c = col; c < col + 32u; c++) {
        var code = 0u;
        if c < params.cols { code = code_of(row, c); }
        pending |= code << filled;
        filled += params.bits;
        if filled >= 32u {
            if word < end { codes[word] = pending; }
            word += 1u;
            filled -= 32u;
            pending = code >> (params.bits - filled);
        }
    }
}
