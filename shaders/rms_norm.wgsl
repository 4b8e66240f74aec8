// out = x / sqrt(mean(x^2) + eps) * weight. One workgroup a row.
override WG: u32 = 64u;

struct Params { rows: u32, cols: u32, eps: f32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn run(row: u32, lane: u32) {
    if row >= params.rows { return; }
    let start = row * params.cols;
    var squares = 0.0;
    for (var col = lane; col < params.cols; col += WG) { squares += x[start + col] * x[start + col]; }
    let scale = inverseSqrt(wg_sum(squares, lane) / f32(params.cols) + params.eps);
    for (var col = lane; col < params.cols; col += WG) { out[start + col] = x[start + col] * scale * weight[col]; }
}
