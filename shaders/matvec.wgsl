// out[out_offset + b * out_stride + row] = sum over k of x[b, k] * w[row, k], for up to BATCH rows of x. A workgroup
// takes ROWS rows of w; an invocation takes two columns at a time, so that one invocation reads a whole word of 16-bit
// weights.
override WG: u32 = 64u;
override BATCH: u32 = 1u;
override ROWS: u32 = 4u;

struct Params { batch: u32, rows: u32, cols: u32, out_offset: u32, out_stride: u32 }

// Binding 0, the activations, is declared by the part that reads them.
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn run(group: u32, lane: u32) {
    let first_row = group * ROWS;
    if first_row >= params.rows { return; }
    // Sum of row r and batch b at r * BATCH + b; BATCH * ROWS <= 8. Loops have constant bounds so that they unroll and
    // the sums stay in registers.
    var sums: array<f32, 8>;
    for (var k = 2u * lane; k < params.cols; k += 2u * WG) {
        let two = k + 1u < params.cols;
        var weights: array<vec2<f32>, 8>;
        for (var r = 0u; r < ROWS; r++) {
            // A row past the end repeats the last one and is not written.
            let at = min(first_row + r, params.rows - 1u) * params.cols + k;
            weights[r].x = w_at(at);
            if two { weights[r].y = w_at(at + 1u); }
        }
        for (var b = 0u; b < BATCH; b++) {
            if b < params.batch {
                let at = b * params.cols + k;
                var values = vec2(x_at(at), 0.0);
                if two { values.y = x_at(at + 1u); }
                for (var r = 0u; r < ROWS; r++) { sums[r * BATCH + b] += dot(weights[r], values); }
            }
        }
    }
    for (var i = 0u; i < ROWS * BATCH; i++) {
        let total = wg_sum(sums[i], lane);
        let row = first_row + i / BATCH;
        let b = i % BATCH;
        if lane == 0u && row < params.rows && b < params.batch {
            out[params.out_offset + b * params.out_stride + row] = total;
        }
    }
}
