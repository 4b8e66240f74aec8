// norm = sqrt(sum of the sums); factor = min(1, most / norm). One workgroup.
override WG: u32 = 256u;

struct Params { count: u32, most: f32 }

@group(0) @binding(0) var<storage, read> sums: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

fn run(group: u32, lane: u32) {
    if group > 0u { return; }
    var sum = 0.0;
    for (var i = lane; i < params.count; i += WG) { sum += sums[i]; }
    let norm = sqrt(wg_sum(sum, lane));
    if lane > 0u { return; }
    out[0] = select(1.0, params.most / norm, norm > params.most);
    out[1] = norm;
}
