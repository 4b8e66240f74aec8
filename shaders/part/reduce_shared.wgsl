// Sums and maxima over a workgroup through workgroup memory, in a fixed order; WG is a power of two.
// The kernel defines WG and `run(group, lane)`, which every invocation of a workgroup calls alike.
var<workgroup> shared_lane: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    run(wg.y * count.x + wg.x, lane);
}

fn wg_sum(value: f32, lane: u32) -> f32 {
    shared_lane[lane] = value;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        if lane < half { shared_lane[lane] += shared_lane[lane + half]; }
        workgroupBarrier();
    }
    let total = shared_lane[0];
    workgroupBarrier();
    return total;
}

fn wg_max(value: f32, lane: u32) -> f32 {
    shared_lane[lane] = value;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        if lane < half { shared_lane[lane] = max(shared_lane[lane], shared_lane[lane + half]); }
        workgroupBarrier();
    }
    let most = shared_lane[0];
    workgroupBarrier();
    return most;
}
