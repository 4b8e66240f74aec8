// Per row the sum of (y - target)^2; d_y = factor * (y - target). One workgroup a row.
override WG: u32 = 64u;

struct Params { rows: u32, cols: u32, factor: f32 }

@group(0) @binding(0) var<storage, read> y: array<f32>;
@group(0) @binding(1) var<storage, read> expected: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_y: array<f32>;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

fn run(row: u32, lane: u32) {
    if row >= params.rows { return; }
    var sum = 0.0;
    for (var col = lane; col < params.cols; col += WG) {
        let i = row * params.cols + col;
        let difference = y[i] - expected[i];
        d_y[i] = params.factor * difference;
        sum += difference * difference;
    }
    sum = wg_sum(sum, lane);
    if lane == 0u { sums[row] = sum; }
}
