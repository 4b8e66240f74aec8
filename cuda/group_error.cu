// Per row, with v = (code - zero) * scale: the sums of w*w, (w - v)^2, w*v and v*v. One block a row.
// constants: BITS WG
#include "part/codes.cuh"
#include "part/reduce.cuh"

struct Params { u32 rows, cols, group, groups_per_row, words_per_row, bits; };

KERNEL(group_error)(const u32* w, const u32* codes, const float* scales, const u32* zeros, float* out, Params p, Variant v) {
    const u32 row = block_index(), bits = v.constants[0];
    if (row >= p.rows) return;
    float squares = 0.0f, errors = 0.0f, products = 0.0f, decoded = 0.0f;
    for (u32 col = threadIdx.x; col < p.cols; col += blockDim.x) {
        const u32 g = row * p.groups_per_row + col / p.group;
        const float x = element(w, row * p.cols + col, v.weight);
        const float y = (float(code_at(codes, row * p.words_per_row, col, bits)) - float(zeros[g])) * scales[g];
        squares += x * x;
        errors += (x - y) * (x - y);
        products += x * y;
        decoded += y * y;
    }
    squares = block_sum(squares);
    errors = block_sum(errors);
    products = block_sum(products);
    decoded = block_sum(decoded);
    if (threadIdx.x > 0) return;
    out[4 * row] = squares;
    out[4 * row + 1] = errors;
    out[4 * row + 2] = products;
    out[4 * row + 3] = decoded;
}
