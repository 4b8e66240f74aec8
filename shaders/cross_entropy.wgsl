// Per row of logits: loss = log(sum(exp(row))) - row[target], d_row = factor * (softmax(row) - [1 at the target]), both 0
// where the target is NOT_SCORED. One workgroup a row.
override WG: u32 = 256u;

struct Params { rows: u32, vocab: u32, factor: f32 }

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read_write> d_logits: array<f32>;
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

const NOT_SCORED = 0xffffffffu;

fn run(row: u32, lane: u32) {
    if row >= params.rows { return; }
    let start = row * params.vocab;
    var most = -3.4028234e38;
    for (var i = lane; i < params.vocab; i += WG) { most = max(most, logits[start + i]); }
    most = wg_max(most, lane);
    var sum = 0.0;
    for (var i = lane; i < params.vocab; i += WG) { sum += exp(logits[start + i] - most); }
    sum = wg_sum(sum, lane);
    let target_index = targets[row];
    let scored = target_index != NOT_SCORED;
    let factor = select(0.0, params.factor, scored);
    for (var i = lane; i < params.vocab; i += WG) {
        let hit = select(0.0, 1.0, i == target_index);
        d_logits[start + i] = factor * (exp(logits[start + i] - most) / sum - hit);
    }
    if lane == 0u {
        var loss = 0.0;
        if scored { loss = (most - logits[start + target_index]) + log(sum); }
        losses[row] = loss;
    }
}
