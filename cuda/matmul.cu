// out[out_offset + b * out_stride + row] = sum over k of x[b, k] * w[row, k]; the loop is part tile.
#include "part/many.cuh"
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

// Entries for weights in f16 by tensor cores: type of the activations, rows of the weight and of x a block.
#define MANY(name, split, tile_rows, tile_batch)                                                                        \
    KERNEL_OF(256, name)(const u32* x, const u32* w, float* out, DenseParams p, Variant v) {                            \
        const GroupParams all{p.batch, p.rows, p.cols, p.cols, 0, p.cols / 2, p.out_offset, p.out_stride, 0};           \
        many<16, split, tile_rows, tile_batch, 4, 1>(x, w, w, w, nullptr, out, all, v);                                 \
    }
MANY(matmul_f16_f16_64x32, false, 64, 32)
MANY(matmul_f16_f16_128x64, false, 128, 64)
MANY(matmul_f16_f32_64x32, true, 64, 32)
