// out[out_offset + b * out_stride + row] = sum over k of x[b, k] * (code - zero) * scale, and the bias; the loop is part
// tile_matmul.
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

fn load_x(b: u32, k: u32) -> f32 { return x_at(b * params.cols + k); }

fn load_w(row: u32, k: u32) -> f32 {
    let g = row * params.groups_per_row + k / params.group;
    return (f32(code_at(row * params.words_per_row, k)) - zero_at(g)) * scale_at(g);
}

// The sum of a column of the result and its bias, if there is one.
fn with_bias(sum: f32, column: u32) -> f32 {
    if params.bias == 0u { return sum; }
    return sum + bias[column];
}

fn put(b: u32, row: u32, sum: f32) {
    let column = params.out_offset + row;
    out[column + b * params.out_stride] = with_bias(sum, column);
}
