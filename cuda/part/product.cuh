// Parameters of the products y = x W^T, as src/kernel/product.rs and src/kernel/product_int8.rs have them.
#pragma once
#include "part/codes.cuh"

struct DenseParams { u32 batch, rows, cols, out_offset, out_stride; };

struct GroupParams { u32 batch, rows, cols, group, groups_per_row, words_per_row, out_offset, out_stride, bias; };

struct Int8Params { u32 batch, rows, cols, group, groups_per_row, words_per_row, block, out_offset, out_stride, bias; };

// Where y[b, row] goes.
template <class Params> DEVICE u64 place_of(const Params& p, u32 b, u32 row) {
    return p.out_offset + u64(b) * p.out_stride + row;
}

// The sum of a row and its bias, if there is one. A product is rounded before it is added to.
template <class Params> DEVICE float with_bias(const Params& p, const float* bias, u32 row, float sum) {
    return p.bias != 0 ? __fadd_rn(sum, bias[p.out_offset + row]) : sum;
}

// The 32 bits of a row of words from `bit` on; 0 past its end.
DEVICE u32 bits_from(const u32* row, u32 words, u32 bit) {
    const u32 word = bit / 32;
    return __funnelshift_r(word < words ? row[word] : 0, word + 1 < words ? row[word + 1] : 0, bit % 32);
}

// `quad_at` of any column, which reads no word behind the row.
DEVICE u32 quad_in_row(const u32* row, u32 words, u32 k, u32 bits) {
    const u32 quad = bits_from(row, words, k * bits);
    return quad_at(&quad, 0, 0, bits);
}

// `eight_codes` that reads no word behind the row.
DEVICE u64 eight_in_row(const u32* row, u32 words, u32 k, u32 bits) {
    const u32 low = bits_from(row, words, k * bits);
    return bits == 8 ? low | u64(bits_from(row, words, k * bits + 32)) << 32 : low;
}

// sum + the product of four bytes each.
DEVICE i32 dot4(u32 a, u32 b, i32 sum) {
#ifdef HOST
    return __dp4a(i32(a), i32(b), sum);
#else
    i32 out;
    asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(out) : "r"(a), "r"(b), "r"(sum));
    return out;
#endif
}

// What the products with int8 activations read and write.
struct Int8Operands {
    const u32* x;
    const float* x_scales;
    const i32* x_sums;
    const u32 *codes, *scales, *zeros;
    const float* bias;
    float* out;
};
