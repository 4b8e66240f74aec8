// out[out_offset + row * cols + col] = (code - zero) * scale, in f32. A thread takes eight columns at a time.
// constants: BITS WG
#include "part/codes.cuh"

struct Params { u32 rows, cols, group, groups_per_row, words_per_row, out_offset; };

KERNEL(group_dequantize)(const u32* codes, const u32* scales, const u32* zeros, float* out, Params p, Variant v) {
    const u32 bits = v.constants[0], eights = (p.cols + 7) / 8;
    const bool whole = p.cols % 8 == 0 && p.group % 8 == 0 && p.out_offset % 4 == 0;
    for (u32 i = thread_index(); i < p.rows * eights; i += thread_count()) {
        const u32 row = i / eights, col = i % eights * 8, row_word = row * p.words_per_row;
        const u32 row_group = row * p.groups_per_row, end = min(col + 8, p.cols);
        float* to = out + p.out_offset + row * p.cols;
        if (whole) {
            const u32 g = row_group + col / p.group;
            const float scale = scale_at(scales, g, v.scale), zero = zero_at(zeros, g, v.zero, bits);
            const u64 eight = eight_codes(codes, row_word, col, bits);
            Eight values;
            UNROLL for (u32 k = 0; k < 8; k++) values.at[k] = (float(u32(eight >> (k * bits)) & ((1u << bits) - 1)) - zero) * scale;
            store_eight(to + col, values);
        } else {
            for (u32 c = col; c < end; c++) {
                const u32 g = row_group + c / p.group;
                to[c] = (float(code_at(codes, row_word, c, bits)) - zero_at(zeros, g, v.zero, bits)) * scale_at(scales, g, v.scale);
            }
        }
    }
}
