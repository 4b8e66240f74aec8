// Per row weight * the sum of (y - target)^2; d_y = factor * weight * (y - target). One workgroup a row.
override WG: u32 = 64u;
// The smallest mean square that a row is weighted by.
const SMALLEST = 1e-30;

struct Params { rows: u32, cols: u32, factor: f32, relative: u32 }

@group(0) @binding(0) var<storage, read> y: array<f32>;
@group(0) @binding(1) var<storage, read> expected: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_y: array<f32>;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

fn run(row: u32, lane: u32) {
    if row >= params.rows { return; }
    var weight = 1.0;
    if params.relative == 1u {
        var squares = 0.0;
        for (var col = lane; col < params.cols; col += WG) {
            let value = expected[row * params.cols + col];
            squares += value * value;
        }
        let size = wg_sum(squares, lane) / f32(params.cols);
        weight = select(0.0, 1.0 / size, size >= SMALLEST);
    }
    var sum = 0.0;
    for (var col = lane; col < params.cols; col += WG) {
        let i = row * params.cols + col;
        let difference = y[i] - expected[i];
        d_y[i] = params.factor * weight * difference;
        sum += difference * difference;
    }
    sum = wg_sum(sum, lane);
    if lane == 0u { sums[row] = weight * sum; }
}
