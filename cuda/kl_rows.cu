// Per row, with p and q the softmax of reference and model logits: KL(p || q), KL(q || p), and 1 if both have their
// largest value in the same place. One block a row.
// constants: WG
#include "part/kl_term.cuh"
#include "part/largest.cuh"

struct Params { u32 rows, vocab; };

KERNEL(kl_rows)(const float* reference, const float* model, float* out, Params p, Variant) {
    const u32 row = block_index();
    if (row >= p.rows) return;
    const float *xs = reference + row * p.vocab, *ys = model + row * p.vocab;
    float x_most = -3.4028234e38f, y_most = -3.4028234e38f;
    u64 x_best = NOTHING_LARGE, y_best = NOTHING_LARGE;
    for (u32 i = threadIdx.x; i < p.vocab; i += blockDim.x) {
        x_most = fmaxf(x_most, xs[i]);
        y_most = fmaxf(y_most, ys[i]);
        x_best = max(x_best, candidate(bits_of(xs[i]), i));
        y_best = max(y_best, candidate(bits_of(ys[i]), i));
    }
    x_most = block_max(x_most);
    y_most = block_max(y_most);
    const bool same = block_largest(x_best) == block_largest(y_best);
    float x_sum = 0.0f, y_sum = 0.0f;
    for (u32 i = threadIdx.x; i < p.vocab; i += blockDim.x) {
        x_sum += expf(xs[i] - x_most);
        y_sum += expf(ys[i] - y_most);
    }
    const float x_log = logf(block_sum(x_sum)), y_log = logf(block_sum(y_sum));
    const float shift = (x_most - y_most) + (x_log - y_log);
    float forward = 0.0f, backward = 0.0f;
    for (u32 i = threadIdx.x; i < p.vocab; i += blockDim.x) {
        const float x = xs[i], y = ys[i], d = (x - y) - shift;
        const float x_share = expf((x - x_most) - x_log), y_share = expf((y - y_most) - y_log);
        forward += kl_term(x_share, y_share, d);
        backward += kl_term(y_share, x_share, -d);
    }
    forward = block_sum(forward);
    backward = block_sum(backward);
    if (threadIdx.x > 0) return;
    out[row * 3] = forward;
    out[row * 3 + 1] = backward;
    out[row * 3 + 2] = same ? 1.0f : 0.0f;
}
