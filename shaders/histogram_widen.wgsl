// Counts in bins that are 2^grown times as wide: one invocation a new bin, which sums those of which it is made.
override WG: u32 = 256u;

struct Params { bins: u32 }

@group(0) @binding(0) var<storage, read> range: array<u32>;
@group(0) @binding(1) var<storage, read> before: array<u32>;
@group(0) @binding(2) var<storage, read_write> counts: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let bin = (wg.y * count.x + wg.x) * WG + lid;
    if bin >= params.bins { return; }
    let middle = i32(params.bins / 2u);
    // Beyond this all bins of a side are one.
    let grown = min(range[1] - range[0], countTrailingZeros(params.bins));
    let at = i32(bin) - middle;
    let width = 1 << grown;
    // Bins further out than before hold nothing; without this, their numbers would overflow.
    let last = middle / width;
    var sum = 0u;
    if at >= -last - 1 && at <= last {
        let first = max(at * width, -middle);
        let end = min((at + 1) * width, middle);
        for (var i = first; i < end; i++) { sum += before[i + middle]; }
    }
    counts[bin] = sum;
}
