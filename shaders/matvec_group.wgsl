// out[out_offset + b * out_stride + row] = sum over k of x[b, k] * (code - zero) * scale, and the bias, for up to BATCH rows
// of x. A workgroup takes ROWS rows of codes; an invocation takes 8 columns at a time.
override WG: u32 = 64u;
override BATCH: u32 = 1u;
override ROWS: u32 = 4u;

struct Params {
    batch: u32, rows: u32, cols: u32, group: u32, groups_per_row: u32, words_per_row: u32,
    out_offset: u32, out_stride: u32, bias: u32,
}

// Binding 0, the activations, is declared by the part that reads them.
@group(0) @binding(1) var<storage, read> codes: array<u32>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read> zeros: array<u32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

// Eight columns of a row: weights are `low * scale` and `high * scale`.
struct Weights { low: vec4<f32>, high: vec4<f32>, scale: f32 }

// Weights k to k + 7; k is a multiple of 8. Those past the last column are finite but mean nothing. The zero point is
// taken off each code, which is exact, so that the sum is as precise as one of plain weights.
fn weights8(row: u32, k: u32, group_in_row: u32, left: u32) -> Weights {
    let g = row * params.groups_per_row + group_in_row;
    let c = codes8(row * params.words_per_row, k);
    let zero = zero_at(g);
    let scale = scale_at(g);
    if left >= 8u || k + left >= params.cols { return Weights(c.low - zero, c.high - zero, scale); }
    // A group is at least 16 columns, so 8 columns meet one boundary at most.
    let next_zero = zero_at(g + 1u);
    let next_scale = scale_at(g + 1u);
    let low_in = vec4(0u, 1u, 2u, 3u) < vec4(left);
    let high_in = vec4(4u, 5u, 6u, 7u) < vec4(left);
    let low = (c.low - select(vec4(next_zero), vec4(zero), low_in)) * select(vec4(next_scale), vec4(scale), low_in);
    let high = (c.high - select(vec4(next_zero), vec4(zero), high_in)) * select(vec4(next_scale), vec4(scale), high_in);
    return Weights(low, high, 1.0);
}

// Element k of row b of x, 0 past the last column.
fn x_inside(b: u32, k: u32) -> f32 {
    if k < params.cols { return x_at(b * params.cols + k); }
    return 0.0;
}

fn x4(b: u32, k: u32) -> vec4<f32> {
    return vec4(x_inside(b, k), x_inside(b, k + 1u), x_inside(b, k + 2u), x_inside(b, k + 3u));
}

// The sum of a column of the result and its bias, if there is one.
fn with_bias(sum: f32, column: u32) -> f32 {
    if params.bias == 0u { return sum; }
    return sum + bias[column];
}

fn run(group: u32, lane: u32) {
    let first_row = group * ROWS;
    if first_row >= params.rows { return; }
    // Sum of row r and batch b at r * BATCH + b; BATCH * ROWS <= 8. Loops have constant bounds so that they unroll and
    // the sums stay in registers.
    var sums: array<f32, 8>;
    for (var k = 8u * lane; k < params.cols; k += 8u * WG) {
        let group_in_row = k / params.group;
        let left = (group_in_row + 1u) * params.group - k;
        var weights: array<Weights, 8>;
        for (var r = 0u; r < ROWS; r++) {
            // A row past the end repeats the last one and is not written.
            weights[r] = weights8(min(first_row + r, params.rows - 1u), k, group_in_row, left);
        }
        for (var b = 0u; b < BATCH; b++) {
            if b < params.batch {
                let low = x4(b, k);
                let high = x4(b, k + 4u);
                for (var r = 0u; r < ROWS; r++) {
                    let w = weights[r];
                    sums[r * BATCH + b] += w.scale * (dot(w.low, low) + dot(w.high, high));
                }
            }
        }
    }
    for (var i = 0u; i < ROWS * BATCH; i++) {
        let total = wg_sum(sums[i], lane);
        let row = first_row + i / BATCH;
        let b = i % BATCH;
        if lane == 0u && row < params.rows && b < params.batch {
            let column = params.out_offset + row;
            out[column + b * params.out_stride] = with_bias(total, column);
        }
    }
}
