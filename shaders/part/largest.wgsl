// The largest f32 of a workgroup, compared as integers: WG is a power of two. A candidate is (order, index).
var<workgroup> candidates: array<vec2<u32>, WG>;

// Loses against every candidate.
const NOTHING_LARGE = vec2(0u, 0xffffffffu);

// An integer that orders as the f32 with these bits does; both zeros are equal.
fn order(bits: u32) -> u32 {
    return select(~bits, bits | 0x80000000u, bits <= 0x80000000u);
}

// The candidate of the larger value, the lower index on ties.
fn larger(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return select(a, b, b.x > a.x || (b.x == a.x && b.y < a.y));
}

// The index of the largest candidate; every invocation of a workgroup calls this alike.
fn wg_largest(candidate: vec2<u32>, lane: u32) -> u32 {
    candidates[lane] = candidate;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        if lane < half { candidates[lane] = larger(candidates[lane], candidates[lane + half]); }
        workgroupBarrier();
    }
    let index = candidates[0].y;
    workgroupBarrier();
    return index;
}
