// out[b, row] = sum over k of x[x_first + b * x_row + k * x_step] * w[row * w_row + k * w_step], or that added to what is
// there; the loop is part tile.
#include "part/number.cuh"
#include "part/tile.cuh"

struct Params { u32 batch, rows, cols, x_first, x_row, x_step, w_row, w_step, accumulate; };

KERNEL_OF(256, matmul_strided)(const float* x, const u32* w, float* out, Params p, Variant v) {
    SHARED(TileMemory, memory);
    const float* const first = x + p.x_first;
    const auto x_at = [=](u32 b, u32 k) { return first[b * p.x_row + k * p.x_step]; };
    const auto put = [=](u32 b, u32 row, float sum) {
        float& to = out[b * p.rows + row];
        to = p.accumulate == 1 ? to + sum : sum;
    };
    const TileShape shape{p.batch, p.rows, p.cols, p.x_step == 1, p.w_step == 1};
    const auto run = [&](auto bits_at) {
        tile_product(memory, shape, x_at, [=](u32 row, u32 k) { return bits_at(row * p.w_row + k * p.w_step); }, put);
    };
    if (v.weight == F32) {
        run([=](u32 i) { return element(w, i, F32); });
    } else {
        run([=](u32 i) { return element(w, i, v.weight); });
    }
}
