// put(b, row, sum over k of x[b, k] * w[row, k]) for all rows of x and w, by tiles of 64 rows of x and 64 rows of w.
// A workgroup stages 16 columns of both at a time in workgroup memory; an invocation keeps 4x4 sums in registers.
// The kernel defines `params`, and `load_x(b, k)`, `load_w(row, k)` and `put(b, row, sum)`, which are called within
// bounds only.
const TILE = 64u;
const STEP = 16u;
const QUADS = TILE / 4u;
// One more than a column has, so that 16 invocations that write to 16 columns meet different memory banks.
const STRIDE = QUADS + 1u;

// [k][quad]: four neighbouring rows at one column. Each vec4 is written whole: writing components from several
// invocations would be a data race.
var<workgroup> x_tile: array<vec4<f32>, STEP * STRIDE>;
var<workgroup> w_tile: array<vec4<f32>, STEP * STRIDE>;

fn x_inside(b: u32, k: u32) -> f32 {
    if b < params.batch && k < params.cols { return load_x(b, k); }
    return 0.0;
}

fn w_inside(row: u32, k: u32) -> f32 {
    if row < params.rows && k < params.cols { return load_w(row, k); }
    return 0.0;
}

fn store(b: u32, row: u32, sums: vec4<f32>) {
    if b >= params.batch { return; }
    for (var i = 0u; i < 4u; i++) {
        if row + i < params.rows { put(b, row + i, sums[i]); }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let across = (params.rows + TILE - 1u) / TILE;
    let tile = wg.y * count.x + wg.x;
    let first_b = tile / across * TILE;
    let first_row = tile % across * TILE;
    if first_b >= params.batch { return; }
    // While loading: neighbouring invocations take neighbouring columns.
    let k = lane % STEP;
    let quad = lane / STEP;
    let load_b = first_b + 4u * quad;
    let load_row = first_row + 4u * quad;
    // While adding: neighbouring invocations take neighbouring rows of w, that is columns of the result.
    let at_b = lane / QUADS;
    let at_row = lane % QUADS;
    var sums0 = vec4<f32>();
    var sums1 = vec4<f32>();
    var sums2 = vec4<f32>();
    var sums3 = vec4<f32>();
    for (var start = 0u; start < params.cols; start += STEP) {
        let col = start + k;
        x_tile[k * STRIDE + quad] = vec4(
            x_inside(load_b, col), x_inside(load_b + 1u, col), x_inside(load_b + 2u, col), x_inside(load_b + 3u, col));
        w_tile[k * STRIDE + quad] = vec4(
            w_inside(load_row, col), w_inside(load_row + 1u, col), w_inside(load_row + 2u, col), w_inside(load_row + 3u, col));
        workgroupBarrier();
        for (var i = 0u; i < STEP; i++) {
            let a = x_tile[i * STRIDE + at_b];
            let b = w_tile[i * STRIDE + at_row];
            sums0 += a.x * b;
            sums1 += a.y * b;
            sums2 += a.z * b;
            sums3 += a.w * b;
        }
        workgroupBarrier();
    }
    let b = first_b + 4u * at_b;
    let row = first_row + 4u * at_row;
    store(b, row, sums0);
    store(b + 1u, row, sums1);
    store(b + 2u, row, sums2);
    store(b + 3u, row, sums3);
}
