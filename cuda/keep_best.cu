// kept = value, where the state of best_loss says that the loss is better; else nothing.
// constants: WG
#include "part/prelude.cuh"

struct Params { u32 count; };

KERNEL(keep_best)(const u32* state, const u32* value, u32* kept, Params p, Variant) {
    const u32 i = thread_index();
    if (i >= p.count || state[1] == 0) return;
    kept[i] = value[i];
}
