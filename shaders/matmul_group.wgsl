// out[out_offset + b * out_stride + row] = sum over k of x[b, k] * (code - zero) * scale, and the bias; the loop is part
// tile_matmul or tile_matrix.
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

fn group_of(row: u32, k: u32) -> u32 { return row * params.groups_per_row + k / params.group; }
fn load_code(row: u32, k: u32) -> f32 { return f32(code_at(row * params.words_per_row, k)); }
fn load_zero(row: u32, k: u32) -> f32 { return zero_at(group_of(row, k)); }
fn load_scale(row: u32, k: u32) -> f32 { return scale_at(group_of(row, k)); }

fn load_w(row: u32, k: u32) -> f32 {
    let g = group_of(row, k);
    return (load_code(row, k) - zero_at(g)) * scale_at(g);
}

// How many columns from k on are of its group.
fn same_scale(k: u32) -> u32 { return min(params.group - k % params.group, params.cols - k); }

// The sum of a column of the result and its bias, if there is one.
fn with_bias(sum: f32, column: u32) -> f32 {
    if params.bias == 0u { return sum; }
    return sum + bias[column];
}

fn put(b: u32, row: u32, sum: f32) {
    let column = params.out_offset + row;
    out[column + b * params.out_stride] = with_bias(sum, column);
}
