// One entry of each kind for tensor cores, for tests that plant a fault in a copy of the parts.
#include "part/few.cuh"
#include "part/many.cuh"
#include "part/many_int8.cuh"

KERNEL_OF(256, matvec_group_4_f16_32)
(const u32* x, const u32* codes, const u32* scales, const u32* zeros, const float* bias, float* out, GroupParams p,
 Variant v) {
    few<4, false, 2, 1>(x, codes, scales, zeros, bias, out, p, v);
}

KERNEL_OF(256, matmul_group_4_f16_64x32)
(const u32* x, const u32* codes, const u32* scales, const u32* zeros, const float* bias, float* out, GroupParams p,
 Variant v) {
    many<4, false, 64, 32, 4, 1>(x, codes, scales, zeros, bias, out, p, v);
}

KERNEL_OF(256, matmul_group_int8_4_64x32)
(const u32* x, const float* x_scales, const i32* x_sums, const u32* codes, const u32* scales, const u32* zeros,
 const float* bias, float* out, Int8Params p, Variant v) {
    many_int8<4, 64, 32, 4, 2>({x, x_scales, x_sums, codes, scales, zeros, bias, out}, p, v);
}
