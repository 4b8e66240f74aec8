// Per row, with p and q the softmax of reference and model logits: loss = KL(p || q), d_model = factor * (q - p). One
// block a row.
// constants: WG
#include "part/kl_term.cuh"
#include "part/reduce.cuh"

struct Params { u32 rows, vocab; float factor; };

KERNEL(kl_loss)(const float* reference, const float* model, float* d_model, float* losses, Params p, Variant) {
    const u32 row = block_index();
    if (row >= p.rows) return;
    const float *xs = reference + row * p.vocab, *ys = model + row * p.vocab;
    float x_most = -3.4028234e38f, y_most = -3.4028234e38f;
    for (u32 i = threadIdx.x; i < p.vocab; i += blockDim.x) {
        x_most = fmaxf(x_most, xs[i]);
        y_most = fmaxf(y_most, ys[i]);
    }
    x_most = block_max(x_most);
    y_most = block_max(y_most);
    float x_sum = 0.0f, y_sum = 0.0f;
    for (u32 i = threadIdx.x; i < p.vocab; i += blockDim.x) {
        x_sum += expf(xs[i] - x_most);
        y_sum += expf(ys[i] - y_most);
    }
    const float x_log = logf(block_sum(x_sum)), y_log = logf(block_sum(y_sum));
    const float shift = (x_most - y_most) + (x_log - y_log);
    float loss = 0.0f;
    for (u32 i = threadIdx.x; i < p.vocab; i += blockDim.x) {
        const float x = xs[i], y = ys[i];
        const float x_share = expf((x - x_most) - x_log), y_share = expf((y - y_most) - y_log);
        d_model[row * p.vocab + i] = p.factor * (y_share - x_share);
        loss += kl_term(x_share, y_share, (x - y) - shift);
    }
    loss = block_sum(loss);
    if (threadIdx.x == 0) losses[row] = loss;
}
