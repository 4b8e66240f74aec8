// Per row, with p and q the softmax of reference and model logits: loss = KL(p || q), d_model = factor * (q - p). One
// workgroup a row.
override WG: u32 = 256u;

struct Params { rows: u32, vocab: u32, factor: f32 }

@group(0) @binding(0) var<storage, read> reference: array<f32>;
@group(0) @binding(1) var<storage, read> model: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_model: array<f32>;
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

fn run(row: u32, lane: u32) {
    if row >= params.rows { return; }
    let start = row * params.vocab;
    var most = vec2(-3.4028234e38);
    for (var i = lane; i < params.vocab; i += WG) { most = max(most, vec2(reference[start + i], model[start + i])); }
    most = vec2(wg_max(most.x, lane), wg_max(most.y, lane));
    var sum = vec2<f32>();
    for (var i = lane; i < params.vocab; i += WG) { sum += exp(vec2(reference[start + i], model[start + i]) - most); }
    let logs = log(vec2(wg_sum(sum.x, lane), wg_sum(sum.y, lane)));
    let shift = (most.x - most.y) + (logs.x - logs.y);
    var loss = 0.0;
    for (var i = lane; i < params.vocab; i += WG) {
        let x = vec2(reference[start + i], model[start + i]);
        let p = exp((x - most) - logs);
        d_model[start + i] = params.factor * (p.y - p.x);
        loss += term(p.x, p.y, (x.x - x.y) - shift);
    }
    loss = wg_sum(loss, lane);
    if lane == 0u { losses[row] = loss; }
}
