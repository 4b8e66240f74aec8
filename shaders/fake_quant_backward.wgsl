// Gradients of fake_quant, straight through its rounding: with q = round(w / scale + offset) + zero, inside = 1 where
// 0 <= q <= 2^bits - 1, code = clamp(q),
//   d_offset = d_out * scale * inside,
//   sums[group] = sum of d_out * ((code - zero) - inside * w / scale), sum of d_out * scale * (inside - 1):
// what scale and zero point get. LANES invocations share a group.
override WG: u32 = 64u;
override LANES: u32 = 16u;

struct Params { rows: u32, cols: u32, group: u32, groups_per_row: u32, bits: u32 }

@group(0) @binding(0) var<storage, read> w: array<u32>;
@group(0) @binding(1) var<storage, read> offsets: array<f32>;
@group(0) @binding(2) var<storage, read> scales: array<f32>;
@group(0) @binding(3) var<storage, read> zeros: array<u32>;
@group(0) @binding(4) var<storage, read> d_out: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_offsets: array<f32>;
@group(0) @binding(6) var<storage, read_write> sums: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

var<workgroup> parts: array<vec2<f32>, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = (wg.y * count.x + wg.x) * (WG / LANES) + lid / LANES;
    let lane = lid % LANES;
    let within = g < params.rows * params.groups_per_row;
    var sum = vec2<f32>();
    if within {
        let col = (g % params.groups_per_row) * params.group;
        let start = (g / params.groups_per_row) * params.cols + col;
        let length = min(params.group, params.cols - col);
        let scale = scales[g];
        let zero = i32(zeros[g]);
        let most = i32((1u << params.bits) - 1u);
        for (var k = lane; k < length; k += LANES) {
            let i = start + k;
            let value = w_at(i);
            let q = nearest_shifted(value, scale, offsets[i]) + zero;
            let inside = q >= 0 && q <= most;
            let steps = f32(clamp(q, 0, most) - zero);
            let d = d_out[i];
            d_offsets[i] = select(0.0, d * scale, inside);
            sum += vec2(d * (steps - select(0.0, value / scale, inside)), select(-d * scale, 0.0, inside));
        }
    }
    parts[lid] = sum;
    workgroupBarrier();
    if lane != 0u || !within { return; }
    for (var i = 1u; i < LANES; i++) { sum += parts[lid + i]; }
    sums[2u * g] = sum.x;
    sums[2u * g + 1u] = sum.y;
}
