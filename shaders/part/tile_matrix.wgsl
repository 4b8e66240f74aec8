// put(b, row, sum over k of x[b, k] * (code[row, k] - zero) * scale) for all rows of x and of the weight, by matrices that
// subgroups multiply (part matrix_16 or matrix_8). Four subgroups compute a quarter of a tile each, 2x2 matrices; the others, where
// subgroups are smaller than a quarter of the workgroup, only help to stage.
//
// Both operands are staged as f16 that lose nothing: `code - zero` is a small integer, or a weight stored as f16, and x
// is the sum of X_HALVES f16. Sums over the columns of one scale, or MOST of them, leave the matrices through workgroup
// memory, are scaled and added in f32: matrix units may round each addition towards zero.
//
// The kernel defines `params`, and `load_x(b, k)`, `load_code(row, k)`, `load_zero(row, k)`, `load_scale(row, k)` and
// `put(b, row, sum)`, which are called within bounds only, and `same_scale(k)`: how many columns from k on have the scale
// and the zero point of k.
const WG = 128u;
const TEAMS = 4u;
const TILE = 4u * SIDE;
// Invocations that stage a row, 8 columns each.
const SHARE = WG / TILE;
const STEP = 8u * SHARE;
// Rows start at different memory banks, and at 16 bytes as loads of matrices ask.
const STRIDE = STEP + 8u;
// A quarter of a tile starts so many rows after another.
const QUARTER = 2u * SIDE;
const MOST = 256u;
// Sums of a block of each team, a lane.
const EACH = TEAMS * SIDE * SIDE / WG;

var<workgroup> x_tile: array<f16, X_HALVES * TILE * STRIDE>;
var<workgroup> w_tile: array<f16, TILE * STRIDE>;
var<workgroup> sums_tile: array<f32, TEAMS * SIDE * SIDE>;
var<workgroup> x_scales: array<f32, TILE>;
var<workgroup> w_scales: array<f32, TILE>;
var<workgroup> largest: array<f32, WG>;
var<private> totals: array<f32, 4u * EACH>;

fn x_inside(b: u32, k: u32, end: u32) -> f32 {
    if b < params.batch && k < end { return load_x(b, k); }
    return 0.0;
}

fn w_inside(row: u32, k: u32, end: u32, zero: f32) -> f32 {
    if row < params.rows && k < end { return load_code(row, k) - zero; }
    return 0.0;
}

// The power of two that brings the largest of a row's columns from start to end to 2^14 or above: below f16's largest
// number, and far enough above its smallest that two f16 hold 22 bits. x that is f16 already stays as it is.
fn x_power(b: u32, start: u32, end: u32, lane: u32) -> f32 {
    if X_HALVES == 1u { return 1.0; }
    var most = 0.0;
    for (var k = start; k < end; k += STEP) {
        for (var i = 0u; i < 8u; i++) { most = max(most, abs(x_inside(b, k + lane % SHARE * 8u + i, end))); }
    }
    largest[lane] = most;
    workgroupBarrier();
    for (var i = 0u; i < SHARE; i++) { most = max(most, largest[lane / SHARE * SHARE + i]); }
    let exponent = max(bitcast<u32>(most) >> 23u, 15u);
    if lane % SHARE == 0u { x_scales[lane / SHARE] = bitcast<f32>((exponent - 14u) << 23u); }
    return bitcast<f32>((268u - exponent) << 23u);
}

fn stage_x(at: u32, value: f32) {
    if X_HALVES == 1u {
        x_tile[at] = f16(value);
        return;
    }
    // Rounded to 11 bits as bits, because compilers take f32(f16(value)) for value.
    let high = bitcast<f32>((bitcast<u32>(value) + 0x1000u) & 0xffffe000u);
    x_tile[at] = f16(high);
    x_tile[at + TILE * STRIDE] = f16(value - high);
}

// Adds a block of each team's sums, scaled, to the totals.
fn take(sums: Sums, team: u32, block: u32, lane: u32) {
    if team < TEAMS { store_sums(sums, team * SIDE * SIDE); }
    workgroupBarrier();
    for (var i = 0u; i < EACH; i++) {
        let at = place(block, lane, i);
        totals[block * EACH + i] += sums_tile[lane + i * WG] * (w_scales[at.y] * x_scales[at.x]);
    }
    workgroupBarrier();
}

// The row of x and the row of w in the tile of a lane's sum.
fn place(block: u32, lane: u32, i: u32) -> vec2<u32> {
    let element = lane + i * WG;
    let team = element / (SIDE * SIDE);
    let b = team / 2u * QUARTER + block / 2u * SIDE + element / SIDE % SIDE;
    return vec2(b, team % 2u * QUARTER + block % 2u * SIDE + element % SIDE);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) team: u32,
) {
    let across = (params.rows + TILE - 1u) / TILE;
    let tile = wg.y * count.x + wg.x;
    let first_b = tile / across * TILE;
    let first_row = tile % across * TILE;
    if first_b >= params.batch { return; }
    let line = lane / SHARE;
    let column = lane % SHARE * 8u;
    let b = first_b + line;
    let row = first_row + line;
    let x_first = team / 2u * QUARTER * STRIDE;
    let w_first = team % 2u * QUARTER * STRIDE;
    if column == 0u { x_scales[line] = 1.0; }
    for (var start = 0u; start < params.cols; ) {
        let end = start + min(same_scale(start), MOST);
        var zero = 0.0;
        var scale = 0.0;
        if row < params.rows {
            zero = load_zero(row, start);
            scale = load_scale(row, start);
        }
        if column == 0u { w_scales[line] = scale; }
        let power = x_power(b, start, end, lane);
        var sums0 = no_sums(team, 0u);
        var sums1 = no_sums(team, 1u);
        var sums2 = no_sums(team, 2u);
        var sums3 = no_sums(team, 3u);
        for (var k = start; k < end; k += STEP) {
            for (var i = 0u; i < 8u; i++) {
                let at = line * STRIDE + column + i;
                stage_x(at, x_inside(b, k + column + i, end) * power);
                w_tile[at] = f16(w_inside(row, k + column + i, end, zero));
            }
            workgroupBarrier();
            if team < TEAMS {
                for (var i = 0u; i < STEP; i += SIDE) {
                    let w0 = w_matrix(w_first + i);
                    let w1 = w_matrix(w_first + i + SIDE * STRIDE);
                    for (var half = 0u; half < X_HALVES; half++) {
                        let x_half = x_first + half * TILE * STRIDE + i;
                        let x0 = x_matrix(x_half);
                        let x1 = x_matrix(x_half + SIDE * STRIDE);
                        sums0 = multiply_add(x0, w0, sums0);
                        sums1 = multiply_add(x0, w1, sums1);
                        sums2 = multiply_add(x1, w0, sums2);
                        sums3 = multiply_add(x1, w1, sums3);
                    }
                }
            }
            workgroupBarrier();
        }
        take(sums0, team, 0u, lane);
        take(sums1, team, 1u, lane);
        take(sums2, team, 2u, lane);
        take(sums3, team, 3u, lane);
        start = end;
    }
    for (var block = 0u; block < 4u; block++) {
        for (var i = 0u; i < EACH; i++) {
            let at = place(block, lane, i);
            if first_b + at.x < params.batch && first_row + at.y < params.rows {
                put(first_b + at.x, first_row + at.y, totals[block * EACH + i]);
            }
        }
    }
}
