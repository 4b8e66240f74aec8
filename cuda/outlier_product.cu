// y[token, row] += sum over flagged columns of x[token, col] * (code - zero) * scale, in f32 and in the order of the columns.
// constants: BITS WG
#include "part/codes.cuh"

struct Params { u32 batch, rows, cols, group, groups_per_row, words_per_row, out_offset, out_stride; };

KERNEL(outlier_product)(const float* x, const u32* flags, const u32* codes, const u32* scales, const u32* zeros, float* y,
                        Params p, Variant v) {
    const u32 bits = v.constants[0];
    const u32 i = thread_index();
    if (i >= p.batch * p.rows) return;
    const u32 token = i / p.rows, row = i % p.rows;
    float sum = 0.0f;
    for (u32 col = 0; col < p.cols; col++) {
        if (flags[col] == 0) continue;
        const u32 g = row * p.groups_per_row + col / p.group;
        const float steps = float(code_at(codes, row * p.words_per_row, col, bits)) - zero_at(zeros, g, v.zero, bits);
        sum += x[token * p.cols + col] * (steps * scale_at(scales, g, v.scale));
    }
    y[token * p.out_stride + p.out_offset + row] += sum;
}
