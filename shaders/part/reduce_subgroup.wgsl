// Sums and maxima over a workgroup: within each subgroup by subgroup operations, across them through workgroup
// memory in a fixed order. No subgroup size is assumed. Same contract as reduce_shared.
var<workgroup> shared_lane: array<f32, WG>;
var<private> subgroup: u32;
var<private> subgroups: u32;
var<private> subgroup_lane: u32;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) id: u32, @builtin(num_subgroups) ids: u32, @builtin(subgroup_invocation_id) inner: u32,
) {
    subgroup = id;
    subgroups = ids;
    subgroup_lane = inner;
    run(wg.y * count.x + wg.x, lane);
}

fn wg_sum(value: f32, lane: u32) -> f32 {
    let part = subgroupAdd(value);
    if subgroup_lane == 0u { shared_lane[subgroup] = part; }
    workgroupBarrier();
    var total = 0.0;
    for (var i = 0u; i < subgroups; i++) { total += shared_lane[i]; }
    workgroupBarrier();
    return total;
}

fn wg_max(value: f32, lane: u32) -> f32 {
    let part = subgroupMax(value);
    if subgroup_lane == 0u { shared_lane[subgroup] = part; }
    workgroupBarrier();
    var most = shared_lane[0];
    for (var i = 1u; i < subgroups; i++) { most = max(most, shared_lane[i]); }
    workgroupBarrier();
    return most;
}
