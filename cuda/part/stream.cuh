// A packed weight read from global memory straight into the operands of tensor cores, 128 columns at a time: for products
// with few rows of x, which are as fast as the weight is read.
#pragma once
#include "part/fragment.cuh"
#include "part/product.cuh"

constexpr u32 FEW_WARPS = 8, FEW_THREADS = 32 * FEW_WARPS, FEW_COLS = 128;

// 16 bytes that are read once, or zeros where not `inside`.
DEVICE uint4 read_once(const u32* from, bool inside) {
#ifdef HOST
    return inside ? *reinterpret_cast<const uint4*>(from) : uint4{0, 0, 0, 0};
#else
    uint4 out{0, 0, 0, 0};
    asm volatile("{ .reg .pred inside; setp.ne.b32 inside, %5, 0;"
                 " @inside ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4]; }"
                 : "+r"(out.x), "+r"(out.y), "+r"(out.z), "+r"(out.w) : "l"(from), "r"(u32(inside)));
    return out;
#endif
}

// The 32 codes of BITS words from `word` on, a multiple of what is read at a time; 0 past the end of the row.
template <u32 BITS> DEVICE void read_codes(u32 (&out)[BITS], const u32* row, u32 word, u32 words) {
    if constexpr (BITS % 4 == 0) {
        UNROLL for (u32 i = 0; i < BITS; i += 4) {
            const uint4 four = read_once(row + word + i, word + i < words);
            out[i] = four.x, out[i + 1] = four.y, out[i + 2] = four.z, out[i + 3] = four.w;
        }
    } else if constexpr (BITS == 2) {
        const uint2 two = word < words ? *reinterpret_cast<const uint2*>(row + word) : uint2{0, 0};
        out[0] = two.x, out[1] = two.y;
    } else {
        UNROLL for (u32 i = 0; i < BITS; i++) out[i] = word + i < words ? row[word + i] : 0;
    }
}

// The scales, as they are stored, and zero points of the rows g + 8 i, i < 2 MT, of a group. A lane t of four reads those of i = t, t + 4, ...
// and gets the others from its neighbours.
template <u32 MT> struct RowGroups {
    static constexpr u32 COUNT = (2 * MT + 3) / 4;
    u32 scale[COUNT];
    u32 zero[COUNT];
};

template <u32 MT>
DEVICE void read_groups(RowGroups<MT>& out, const u32* scales, const u32* zeros, u32 rows, u32 groups_per_row,
                        const Variant& v, u32 bits, u32 first_row, u32 group) {
    const u32 g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    UNROLL for (u32 s = 0; s < RowGroups<MT>::COUNT; s++) {
        const u32 row = min(first_row + 8 * (4 * s + t) + g, rows - 1), at = row * groups_per_row + group;
        out.scale[s] = scale_bits(scales, at, v.scale);
        out.zero[s] = zero_code(zeros, at, v.zero, bits);
    }
}
