// out[out_offset + b * out_stride + row] = sum over k of x[b, k] * (code - zero) * scale; the loop is part tile.
// constants: BITS
#include "part/codes.cuh"
#include "part/product.cuh"
#include "part/tile.cuh"

KERNEL_OF(256, matmul_group)
(const u32* x, const u32* codes, const u32* scales, const u32* zeros, float* out, GroupParams p, Variant v) {
    SHARED(TileMemory, memory);
    const u32 bits = v.constants[0];
    const auto x_at = [=](u32 b, u32 k) { return element(x, b * p.cols + k, v.activation); };
    const auto w_at = [=](u32 row, u32 k) {
        const u32 g = row * p.groups_per_row + k / p.group;
        const float code = float(code_at(codes, row * p.words_per_row, k, bits));
        return (code - zero_at(zeros, g, v.zero, bits)) * scale_at(scales, g, v.scale);
    };
    const auto put = [=](u32 b, u32 row, float sum) { out[place_of(p, b, row)] = sum; };
    tile_product(memory, TileShape{p.batch, p.rows, p.cols, true, true}, x_at, w_at, put);
}
