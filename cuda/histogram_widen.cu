// Counts in bins that are 2^grown times as wide: one thread a new bin, which sums those of which it is made.
// constants: WG
#include "part/prelude.cuh"

struct Params { u32 bins; };

KERNEL(histogram_widen)(const u32* range, const u32* before, u32* counts, Params p, Variant) {
    const u32 bin = thread_index();
    if (bin >= p.bins) return;
    const i32 middle = i32(p.bins / 2), at = i32(bin) - middle;
    // Beyond this all bins of a side are one.
    const u32 grown = min(range[1] - range[0], u32(__ffs(i32(p.bins)) - 1));
    const i32 width = 1 << grown;
    // Bins further out than before hold nothing; without this, their numbers would overflow.
    const i32 last = middle / width;
    u32 sum = 0;
    if (at >= -last - 1 && at <= last) {
        const i32 first = max(at * width, -middle), end = min((at + 1) * width, middle);
        for (i32 i = first; i < end; i++) sum += before[i + middle];
    }
    counts[bin] = sum;
}
