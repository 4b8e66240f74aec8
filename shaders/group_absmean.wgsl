// scale = sum(|w|) / count + eps of each group of a row. One workgroup a group.
override WG: u32 = 64u;

struct Params { rows: u32, cols: u32, group: u32, groups_per_row: u32, eps: f32 }

@group(0) @binding(0) var<storage, read> w: array<f32>;
@group(0) @binding(1) var<storage, read_write> scales: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

fn run(g: u32, lane: u32) {
    if g >= params.rows * params.groups_per_row { return; }
    let col = (g % params.groups_per_row) * params.group;
    let start = (g / params.groups_per_row) * params.cols + col;
    let length = min(params.group, params.cols - col);
    var sum = 0.0;
    for (var i = lane; i < length; i += WG) { sum += abs(w[start + i]); }
    sum = wg_sum(sum, lane);
    if lane == 0u { scales[g] = sum / f32(length) + params.eps; }
}
