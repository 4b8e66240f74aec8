// out[out_offset + b * out_stride + row] = sum over k of x[b, k] * w[row, k]; the loop is part tile_matmul or tile_matrix.
struct Params { batch: u32, rows: u32, cols: u32, out_offset: u32, out_stride: u32 }

// Binding 0, the activations, is declared by the part that reads them.
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn load_x(b: u32, k: u32) -> f32 { return x_at(b * params.cols + k); }
fn load_w(row: u32, k: u32) -> f32 { return w_at(row * params.cols + k); }
fn put(b: u32, row: u32, sum: f32) { out[params.out_offset + b * params.out_stride + row] = sum; }

// For tile_matrix: a weight is its own code.
fn load_code(row: u32, k: u32) -> f32 { return load_w(row, k); }
fn load_zero(row: u32, k: u32) -> f32 { return 0.0; }
fn load_scale(row: u32, k: u32) -> f32 { return 1.0; }
fn same_scale(k: u32) -> u32 { return params.cols - k; }
