// loss = factor * sum of sums. state: the best loss, whether this loss is better, the iteration of the best one, this
// loss. One workgroup.
override WG: u32 = 256u;

struct Params { count: u32, factor: f32, iteration: u32 }

@group(0) @binding(0) var<storage, read> sums: array<f32>;
@group(0) @binding(1) var<storage, read_write> state: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

fn run(group: u32, lane: u32) {
    if group != 0u { return; }
    var sum = 0.0;
    for (var i = lane; i < params.count; i += WG) { sum += sums[i]; }
    let loss = params.factor * wg_sum(sum, lane);
    if lane == 0u {
        let better = loss < bitcast<f32>(state[0]);
        if better {
            state[0] = bitcast<u32>(loss);
            state[2] = params.iteration;
        }
        state[1] = u32(better);
        state[3] = bitcast<u32>(loss);
    }
}
