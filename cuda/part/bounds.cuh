// The smallest and largest value of a group of a weight, found by some neighbouring threads.
#pragma once
#include "part/number.cuh"
#include "part/reduce.cuh"

struct Bounds {
    float low, high;
    // The bits of a value that is not finite, 0 if there is none.
    u32 fault;
};

DEVICE void enter(Bounds& bounds, float value) {
    if ((bits_of(value) & 0x7f800000u) == 0x7f800000u) bounds.fault = bits_of(value);
    bounds.low = fminf(bounds.low, value);
    bounds.high = fmaxf(bounds.high, value);
}

// Of `length` elements from `start` on; each thread of `lanes` neighbours gets them. All threads of a block call this.
DEVICE Bounds group_bounds_of(const u32* w, u32 start, u32 length, u32 type, u32 lanes) {
    const u32 lane = threadIdx.x % lanes;
    Bounds bounds = {3.4028234e38f, -3.4028234e38f, 0};
    if (start % 8 == 0 && length % 8 == 0) {
        for (u32 i = 8 * lane; i < length; i += 8 * lanes) {
            const Eight eight = eight_elements(w, start + i, type);
            UNROLL for (u32 k = 0; k < 8; k++) enter(bounds, eight.at[k]);
        }
    } else {
        for (u32 i = lane; i < length; i += lanes) enter(bounds, element(w, start + i, type));
    }
    return {lanes_reduce(bounds.low, lanes, Least()), lanes_reduce(bounds.high, lanes, Most()), lanes_reduce(bounds.fault, lanes, Or())};
}
