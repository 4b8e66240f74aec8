// Per column: smallest, largest, mean and sum of squared distances from the mean (m2), of a batch by Welford's recurrence,
// then together with the state of the batches before it by Chan's formula. One thread a column.
// constants: WG
#include "part/prelude.cuh"

struct Params { u32 rows, cols, before; };

KERNEL(column_stats)(const float* x, float* state, Params p, Variant) {
    const u32 col = thread_index(), cols = p.cols;
    if (col >= cols) return;
    float least = 3.4028234e38f, most = -3.4028234e38f, mean = 0.0f, m2 = 0.0f;
    for (u32 row = 0; row < p.rows; row++) {
        const float value = x[row * cols + col];
        if (value < least) least = value;
        if (value > most) most = value;
        const float away = value - mean;
        mean += away * (1.0f / float(row + 1));
        m2 += away * (value - mean);
    }
    if (p.before > 0) {
        const float before = float(p.before), share = float(p.rows) / (before + float(p.rows));
        const float away = mean - state[2 * cols + col];
        least = fminf(least, state[col]);
        most = fmaxf(most, state[cols + col]);
        mean = state[2 * cols + col] + away * share;
        m2 = state[3 * cols + col] + (m2 + away * away * (before * share));
    }
    state[col] = least;
    state[cols + col] = most;
    state[2 * cols + col] = mean;
    state[3 * cols + col] = m2;
}
