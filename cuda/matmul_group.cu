// out[out_offset + b * out_stride + row] = sum over k of x[b, k] * (code - zero) * scale, and the bias; the loop is part
// tile.
// constants: BITS
#include "part/few.cuh"
#include "part/many.cuh"
#include "part/tile.cuh"

KERNEL_OF(256, matmul_group)
(const u32* x, const u32* codes, const u32* scales, const u32* zeros, const float* bias, float* out, GroupParams p,
 Variant v) {
    SHARED(TileMemory, memory);
    const u32 bits = v.constants[0];
    const auto x_at = [=](u32 b, u32 k) { return element(x, b * p.cols + k, v.activation); };
    const auto w_at = [=](u32 row, u32 k) {
        const u32 g = row * p.groups_per_row + k / p.group;
        const float code = float(code_at(codes, row * p.words_per_row, k, bits));
        return (code - zero_at(zeros, g, v.zero, bits)) * scale_at(scales, g, v.scale);
    };
    const auto put = [=](u32 b, u32 row, float sum) { out[place_of(p, b, row)] = with_bias(p, bias, row, sum); };
    tile_product(memory, TileShape{p.batch, p.rows, p.cols, true, true}, x_at, w_at, put);
}

// Entries by tensor cores: width of the codes, type of the activations, rows of the weight and of x a block.
#define FEW(name, bits, rows)                                                                                           \
    KERNEL_OF(256, name)                                                                                                \
    (const u32* x, const u32* codes, const u32* scales, const u32* zeros, const float* bias, float* out, GroupParams p, \
     Variant v) {                                                                                                       \
        few<bits, false, rows / 16, 2>(x, codes, scales, zeros, bias, out, p, v);                                       \
    }
#define MANY(name, bits, split, rows, batch, across, down)                                                              \
    KERNEL_OF(256, name)                                                                                                \
    (const u32* x, const u32* codes, const u32* scales, const u32* zeros, const float* bias, float* out, GroupParams p, \
     Variant v) {                                                                                                       \
        many<bits, split, rows, batch, across, down>(x, codes, scales, zeros, bias, out, p, v);                         \
    }
FEW(matmul_group_2_f16_64x16, 2, 64)
FEW(matmul_group_2_f16_32x16, 2, 32)
MANY(matmul_group_2_f16_64x32, 2, false, 64, 32, 4, 1)
MANY(matmul_group_2_f16_64x64, 2, false, 64, 64, 2, 2)
MANY(matmul_group_2_f16_128x128, 2, false, 128, 128, 4, 2)
MANY(matmul_group_2_f32_64x16, 2, true, 64, 16, 4, 1)
MANY(matmul_group_2_f32_64x32, 2, true, 64, 32, 4, 1)
MANY(matmul_group_2_f32_64x64, 2, true, 64, 64, 4, 1)
MANY(matmul_group_2_f32_128x64, 2, true, 128, 64, 4, 1)
FEW(matmul_group_4_f16_64x16, 4, 64)
FEW(matmul_group_4_f16_32x16, 4, 32)
MANY(matmul_group_4_f16_64x32, 4, false, 64, 32, 4, 1)
MANY(matmul_group_4_f16_64x64, 4, false, 64, 64, 2, 2)
MANY(matmul_group_4_f16_128x128, 4, false, 128, 128, 4, 2)
MANY(matmul_group_4_f32_64x16, 4, true, 64, 16, 4, 1)
MANY(matmul_group_4_f32_64x32, 4, true, 64, 32, 4, 1)
MANY(matmul_group_4_f32_64x64, 4, true, 64, 64, 4, 1)
MANY(matmul_group_4_f32_128x64, 4, true, 128, 64, 4, 1)
FEW(matmul_group_8_f16_32x16, 8, 32)
MANY(matmul_group_8_f16_64x32, 8, false, 64, 32, 4, 1)
MANY(matmul_group_8_f16_64x64, 8, false, 64, 64, 2, 2)
MANY(matmul_group_8_f16_128x128, 8, false, 128, 128, 4, 2)
MANY(matmul_group_8_f32_64x16, 8, true, 64, 16, 4, 1)
MANY(matmul_group_8_f32_64x32, 8, true, 64, 32, 4, 1)
MANY(matmul_group_8_f32_64x64, 8, true, 64, 64, 4, 1)
