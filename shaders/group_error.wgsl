// Per row, with v = (code - zero) * scale: the sums of w*w, (w - v)^2, w*v and v*v. One workgroup a row.
override WG: u32 = 64u;

struct Params { rows: u32, cols: u32, group: u32, groups_per_row: u32, words_per_row: u32, bits: u32 }

@group(0) @binding(0) var<storage, read> w: array<u32>;
@group(0) @binding(1) var<storage, read> codes: array<u32>;
@group(0) @binding(2) var<storage, read> scales: array<f32>;
@group(0) @binding(3) var<storage, read> zeros: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

fn run(row: u32, lane: u32) {
    if row >= params.rows { return; }
    var sums = vec4<f32>();
    for (var col = lane; col < params.cols; col += WG) {
        let g = row * params.groups_per_row + col / params.group;
        let x = w_at(row * params.cols + col);
        let v = (f32(code_at(row * params.words_per_row, col)) - f32(zeros[g])) * scales[g];
        sums += vec4(x * x, (x - v) * (x - v), x * v, v * v);
    }
    let total = vec4(wg_sum(sums.x, lane), wg_sum(sums.y, lane), wg_sum(sums.z, lane), wg_sum(sums.w, lane));
    if lane < 4u { out[row * 4u + lane] = total[lane]; }
}
