// out[b, row] = sum over k of x[x_first + b * x_row + k * x_step] * w[row * w_row + k * w_step], or
// that added to what is there;
// the loop is part tile_matmul.
struct Params {
    batch: u32, rows: u32, cols: u32, x_first: u32, x_row: u32, x_step: u32, w_row: u32, w_step: u32, accumulate: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn load_x(b: u32, k: u32) -> f32 { return x[params.x_first + b * params.x_row + k * params.x_step]; }
fn load_w(row: u32, k: u32) -> f32 { return w_at(row * params.w_row + k * params.w_step); }

fn put(b: u32, row: u32, sum: f32) {
    let i = b * params.rows + row;
    if params.accumulate == 1u { out[i] += sum; } else { out[i] = sum; }
}
