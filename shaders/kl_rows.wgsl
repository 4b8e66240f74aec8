// Per row, with p and q the softmax of reference and model logits: KL(p || q), KL(q || p), and 1 if both have their
// largest value in the same place. One workgroup a row.
override WG: u32 = 256u;

struct Params { rows: u32, vocab: u32 }

@group(0) @binding(0) var<storage, read> reference: array<u32>;
@group(0) @binding(1) var<storage, read> model: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn run(row: u32, lane: u32) {
    if row >= params.rows { return; }
    let start = row * params.vocab;
    var most = vec2(-3.4028234e38);
    var best_reference = NOTHING_LARGE;
    var best_model = NOTHING_LARGE;
    for (var i = lane; i < params.vocab; i += WG) {
        let bits = vec2(reference[start + i], model[start + i]);
        most = max(most, bitcast<vec2<f32>>(bits));
        best_reference = larger(best_reference, vec2(order(bits.x), i));
        best_model = larger(best_model, vec2(order(bits.y), i));
    }
    most = vec2(wg_max(most.x, lane), wg_max(most.y, lane));
    let same = wg_largest(best_reference, lane) == wg_largest(best_model, lane);
    var sum = vec2<f32>();
    for (var i = lane; i < params.vocab; i += WG) {
        sum += exp(bitcast<vec2<f32>>(vec2(reference[start + i], model[start + i])) - most);
    }
    let logs = log(vec2(wg_sum(sum.x, lane), wg_sum(sum.y, lane)));
    let shift = (most.x - most.y) + (logs.x - logs.y);
    var kl = vec2<f32>();
    for (var i = lane; i < params.vocab; i += WG) {
        let x = bitcast<vec2<f32>>(vec2(reference[start + i], model[start + i]));
        let p = exp((x - most) - logs);
        let d = (x.x - x.y) - shift;
        kl += vec2(term(p.x, p.y, d), term(p.y, p.x, -d));
    }
    kl = vec2(wg_sum(kl.x, lane), wg_sum(kl.y, lane));
    if lane == 0u {
        out[row * 3u] = kl.x;
        out[row * 3u + 1u] = kl.y;
        out[row * 3u + 2u] = select(0.0, 1.0, same);
    }
}
