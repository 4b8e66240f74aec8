// d_x = r * (g - mean(g) - z * mean(g * z)), z = (x - mean) * r, g = d_y * weight; stats = (mean, r). One workgroup a row.
override WG: u32 = 64u;

struct Params { rows: u32, cols: u32, eps: f32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> d_y: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_x: array<f32>;
@group(0) @binding(4) var<storage, read_write> stats: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

fn run(row: u32, lane: u32) {
    if row >= params.rows { return; }
    let start = row * params.cols;
    let cols = f32(params.cols);
    var sum = 0.0;
    for (var col = lane; col < params.cols; col += WG) { sum += x[start + col]; }
    let mean = wg_sum(sum, lane) / cols;
    var squares = 0.0;
    for (var col = lane; col < params.cols; col += WG) {
        let centred = x[start + col] - mean;
        squares += centred * centred;
    }
    let r = inverseSqrt(wg_sum(squares, lane) / cols + params.eps);
    var products = 0.0;
    var gradients = 0.0;
    for (var col = lane; col < params.cols; col += WG) {
        let g = d_y[start + col] * weight[col];
        gradients += g;
        products += g * (x[start + col] - mean) * r;
    }
    let along = wg_sum(products, lane) / cols;
    let shift = wg_sum(gradients, lane) / cols;
    for (var col = lane; col < params.cols; col += WG) {
        let z = (x[start + col] - mean) * r;
        d_x[start + col] = r * (d_y[start + col] * weight[col] - shift - z * along);
    }
    if lane == 0u {
        stats[2u * row] = mean;
        stats[2u * row + 1u] = r;
    }
}
