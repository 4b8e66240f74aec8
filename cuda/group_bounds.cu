// Smallest and largest value of each group of a weight, a zero always positive; both NaN where a value is not finite. LANES
// threads share a group.
// constants: WG LANES
#include "part/bounds.cuh"

struct Params { u32 rows, cols, group, groups_per_row; };

KERNEL(group_bounds)(const u32* w, u32* bounds, Params p, Variant v) {
    const u32 lanes = v.constants[1];
    const u32 g = thread_index() / lanes;
    const bool inside = g < p.rows * p.groups_per_row;
    const u32 col = inside ? g % p.groups_per_row * p.group : 0, start = inside ? g / p.groups_per_row * p.cols + col : 0;
    const Bounds found = group_bounds_of(w, start, inside ? min(p.group, p.cols - col) : 0, v.weight, lanes);
    if (threadIdx.x % lanes != 0 || !inside) return;
    const bool fault = found.fault != 0;
    bounds[2 * g] = fault ? 0x7fc00000u : found.low == 0.0f ? 0 : bits_of(found.low);
    bounds[2 * g + 1] = fault ? 0x7fc00000u : found.high == 0.0f ? 0 : bits_of(found.high);
}
