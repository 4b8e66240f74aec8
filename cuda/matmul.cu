// out[out_offset + b * out_stride + row] = sum over k of x[b, k] * w[row, k]; the loop is part tile.
#include "part/number.cuh"
#include "part/product.cuh"
#include "part/tile.cuh"

KERNEL_OF(256, matmul)(const u32* x, const u32* w, float* out, DenseParams p, Variant v) {
    SHARED(TileMemory, memory);
    const TileShape shape{p.batch, p.rows, p.cols, true, true};
    const auto put = [=](u32 b, u32 row, float sum) { out[place_of(p, b, row)] = sum; };
    const auto run = [&](u32 x_type, u32 w_type) {
        const auto x_at = [=](u32 b, u32 k) { return element(x, b * p.cols + k, x_type); };
        const auto w_at = [=](u32 row, u32 k) { return element(w, row * p.cols + k, w_type); };
        tile_product(memory, shape, x_at, w_at, put);
    };
    if (v.weight == F32 && v.activation == F32) {
        run(F32, F32);
    } else {
        run(v.activation, v.weight);
    }
}
