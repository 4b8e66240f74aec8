// An entry for compute capability 9.x, for tests that plant a fault in a copy of the parts.
#include "part/hopper.cuh"

KERNEL_ALONE(HOPPER_THREADS, matmul_group_hopper_4_128x64)
(const u32* x, const u32* codes, const u32* scales, const u32* zeros, const float* bias, float* out, GroupParams p,
 Variant v) {
    hopper<4, 64>(x, codes, scales, zeros, bias, out, p, v);
}
