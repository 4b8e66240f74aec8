// out[t * cols + col] = table[(ids[t] - first_row) * cols + col] for ids of this table or part; others are left alone.
override WG: u32 = 64u;

struct Params { tokens: u32, first_row: u32, rows: u32, cols: u32 }

@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = (wg.y * count.x + wg.x) * WG + lid;
    if i >= params.tokens * params.cols { return; }
    // Below first_row the difference wraps round to a large number.
    let row = ids[i / params.cols] - params.first_row;
    if row < params.rows { out[i] = w_bits(row * params.cols + i % params.cols); }
}
