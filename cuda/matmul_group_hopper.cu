// The entries of matmul_group for cards of compute capability 9.x; see part hopper.
// options: --gpu-architecture=compute_90a
#include "part/hopper.cuh"

// Width of the codes, rows of the weight and of x a block.
#define HOPPER(name, bits, rows, batch)                                                                                 \
    KERNEL_ALONE(HOPPER_THREADS, name)                                                                                  \
    (const u32* x, const u32* codes, const u32* scales, const u32* zeros, const float* bias, float* out,                \
     GroupParams p, Variant v) {                                                                                        \
        static_assert(rows == HOPPER_ROWS);                                                                             \
        hopper<bits, batch>(x, codes, scales, zeros, bias, out, p, v);                                                  \
    }
HOPPER(matmul_group_hopper_2_128x64, 2, 128, 64)
HOPPER(matmul_group_hopper_2_128x128, 2, 128, 128)
HOPPER(matmul_group_hopper_4_128x64, 4, 128, 64)
HOPPER(matmul_group_hopper_4_128x128, 4, 128, 128)
HOPPER(matmul_group_hopper_8_128x64, 8, 128, 64)
HOPPER(matmul_group_hopper_8_128x128, 8, 128, 128)
