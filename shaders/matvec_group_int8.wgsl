// out[out_offset + b * out_stride + row] = sum over blocks of f32(sum((code - zero) * x_code)) * scale * x_scale, and the
// bias, for up to BATCH rows of x. A workgroup takes ROWS rows of codes; an invocation takes 16 columns of a block at a
// time. Where all columns have one scale on both sides, integers are added, exactly below 2^24, and scaled at the end.
override WG: u32 = 64u;
override BATCH: u32 = 1u;
override ROWS: u32 = 4u;

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

// Sixteen columns of a row, and what its group adds and multiplies.
struct Weights { quads: vec4<u32>, offset: i32, scale: f32 }

fn weights16(row: u32, k: u32) -> Weights {
    let word = row * params.words_per_row;
    let g = row * params.groups_per_row + k / params.group;
    let quads = vec4(quad_at(word, k), quad_at(word, k + 4u), quad_at(word, k + 8u), quad_at(word, k + 12u));
    return Weights(quads, quad_bias() - i32(zero_at(g)), scale_at(g));
}

// Four words of a block from `word`, 0 past its end.
fn x16(start: u32, word: u32, block_words: u32) -> vec4<u32> {
    var quads = vec4<u32>();
    for (var i = 0u; i < 4u; i++) {
        if word + i < block_words { quads[i] = x[start + word + i]; }
    }
    return quads;
}

// The sum of a column of the result and its bias, if there is one. Bits that are joined with 0 keep compilers from rounding a
// product and this sum at once.
fn with_bias(sum: f32, column: u32) -> f32 {
    if params.bias == 0u { return sum; }
    return bitcast<f32>(bitcast<u32>(sum) | (params.bias >> 1u)) + bias[column];
}

fn run(group: u32, lane: u32) {
    let first_row = group * ROWS;
    if first_row >= params.rows { return; }
    let blocks = (params.cols + params.block - 1u) / params.block;
    let block_words = (params.block + 3u) / 4u;
    let parts = (block_words + 3u) / 4u;
    let once = blocks == 1u && params.group >= params.cols;
    // Sum of row r and batch b at r * BATCH + b; BATCH * ROWS <= 8. Loops have constant bounds so that they unroll and
    // the sums stay in registers.
    var sums: array<f32, 8>;
    for (var i = lane; i < blocks * parts; i += WG) {
        let block = i / parts;
        let part = i % parts;
        // A row past the end repeats the last one and is not written.
        var weights: array<Weights, 8>;
        for (var r = 0u; r < ROWS; r++) {
            weights[r] = weights16(min(first_row + r, params.rows - 1u), block * params.block + 16u * part);
        }
        for (var b = 0u; b < BATCH; b++) {
            if b < params.batch {
                let at = b * blocks + block;
                let a = x16(at * block_words, 4u * part, block_words);
                // The first part of a block takes the zero point of all of it.
                let x_sum = select(0, x_sums[at], part == 0u);
                let x_scale = x_scales[at];
                for (var r = 0u; r < ROWS; r++) {
                    let w = weights[r];
                    let dot = dot4I8Packed(a.x, w.quads.x) + dot4I8Packed(a.y, w.quads.y)
                        + dot4I8Packed(a.z, w.quads.z) + dot4I8Packed(a.w, w.quads.w);
                    sums[r * BATCH + b] += f32(dot + w.offset * x_sum) * select(w.scale * x_scale, 1.0, once);
                }
            }
        }
    }
    for (var i = 0u; i < ROWS * BATCH; i++) {
        let total = wg_sum(sums[i], lane);
        let row = first_row + i / BATCH;
        let b = i % BATCH;
        if lane == 0u && row < params.rows && b < params.batch {
            let scale = select(1.0, scale_at(row * params.groups_per_row) * x_scales[b * blocks], once);
            let column = params.out_offset + row;
            out[column + b * params.out_stride] = with_bias(total * scale, column);
        }
    }
}
