// Scale (as f32 bits, rounded to its storage type) and zero point of each group of a weight: of a grid those with the least
// weighted squared error, its part along the weight counted three times. LANES invocations share a group; each takes every LANES-th candidate and sums its error over the
// group alone, so that the order of the sums is the same everywhere; see src/kernel/group_search.rs.
override WG: u32 = 64u;
override LANES: u32 = 16u;

struct Params {
    rows: u32, cols: u32, group: u32, groups_per_row: u32, bits: u32, symmetric: u32, scale_type: u32,
    first: u32, step: u32, count: u32, mask: u32,
}

@group(0) @binding(0) var<storage, read> w: array<u32>;
@group(0) @binding(1) var<storage, read> importance: array<f32>;
@group(0) @binding(2) var<storage, read_write> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> zeros: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> errors: array<f32, WG>;
var<workgroup> indices: array<u32, WG>;

const LEAST = 1.0 / 1099511627776.0;
const LEAST_ALONG = 1.0 / 1125899906842624.0;

struct Candidate { scale: f32, zero: i32 }

fn stored(scale: f32) -> f32 {
    let rounded = round_to(scale, params.scale_type);
    // 2^-24 for f16, 2^-100 for the others.
    let smallest = bitcast<f32>(select(27u, 103u, params.scale_type == 1u) << 23u);
    if abs(rounded) < smallest { return select(smallest, -smallest, rounded < 0.0); }
    return rounded;
}

// A product that nothing is joined with: the mask is 0, but only the host knows.
fn alone(product: f32) -> f32 { return bitcast<f32>(bitcast<u32>(product) ^ params.mask); }

fn candidate(index: u32, base: f32, zero: i32) -> Candidate {
    let ways = select(5u, 2u, params.symmetric == 1u);
    let factor = f32(params.first + (index / ways) * params.step) * (1.0 / 512.0);
    let way = index % ways;
    let scale = base * factor;
    if params.symmetric == 1u { return Candidate(stored(select(-scale, scale, way == 0u)), zero); }
    // 0, -1, 1, -2, 2
    let shift = select(-i32((way + 1u) / 2u), i32(way / 2u), way % 2u == 0u);
    return Candidate(stored(scale), clamp(zero + shift, 0, (1 << params.bits) - 1));
}

fn is_finite(value: f32) -> bool { return (bitcast<u32>(value) & 0x7f800000u) != 0x7f800000u; }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = (wg.y * count.x + wg.x) * (WG / LANES) + lid / LANES;
    let lane = lid % LANES;
    let inside = g < params.rows * params.groups_per_row;
    let ways = select(5u, 2u, params.symmetric == 1u);
    let steps_up = (1 << params.bits) - 1;
    var low = 0.0;
    var high = 0.0;
    var fault = false;
    var base = 0.0;
    var zero = 1 << (params.bits - 1u);
    var least = 3.4028234e38;
    var chosen = 0u;
    if inside {
        let col = (g % params.groups_per_row) * params.group;
        let start = (g / params.groups_per_row) * params.cols + col;
        let length = min(params.group, params.cols - col);
        for (var i = 0u; i < length; i++) {
            let bits = w_bits(start + i);
            fault = fault || (bits & 0x7f800000u) == 0x7f800000u;
            low = min(low, bitcast<f32>(bits));
            high = max(high, bitcast<f32>(bits));
        }
        let largest = select(high, -low, -low > high);
        let unit = bitcast<f32>((254u - clamp(bitcast<u32>(largest) >> 23u, 27u, 227u)) << 23u);
        if params.symmetric == 1u {
            base = largest / f32(1u << (params.bits - 1u));
            base = select(-base, base, -low > high);
        } else {
            base = 2.0 * divide_exact(high * 0.5 - low * 0.5, u32(steps_up));
            zero = clamp(nearest_integer(-low, stored(base), 0u, 0.0), 0, steps_up);
        }
        var energy = 0.0;
        for (var i = 0u; i < length; i++) {
            let value = w_at(start + i) * unit;
            energy += alone(importance[col + i] * value * value);
        }
        for (var index = lane; index < params.count * ways; index += LANES) {
            let tried = candidate(index, base, zero);
            if fault || !is_finite(tried.scale) { continue; }
            let step = tried.scale * unit;
            var error = 0.0;
            var along = 0.0;
            for (var i = 0u; i < length; i++) {
                let value = w_at(start + i);
                let steps = clamp(nearest_integer(value, tried.scale, 0u, 0.0), -tried.zero, steps_up - tried.zero);
                var difference = value * unit - alone(step * f32(steps));
                if abs(difference) < LEAST { difference = 0.0; }
                let weighted = importance[col + i] * difference;
                error += alone(weighted * difference);
                along += alone(weighted * (value * unit));
            }
            if abs(along) < LEAST_ALONG { along = 0.0; }
            error = alone(error * energy) + alone(2.0 * along * along);
            if error < least {
                least = error;
                chosen = index;
            }
        }
    }
    errors[lid] = least;
    indices[lid] = chosen;
    workgroupBarrier();
    if lane != 0u || !inside { return; }
    for (var i = 1u; i < LANES; i++) {
        let other = indices[lid + i];
        let error = errors[lid + i];
        if error < least || (error == least && error < 3.4028234e38 && other < chosen) {
            least = error;
            chosen = other;
        }
    }
    let found = candidate(chosen, base, zero);
    if fault {
        scales[g] = 0x7fc00000u;
        zeros[g] = 1u << (params.bits - 1u);
    } else {
        scales[g] = bitcast<u32>(found.scale);
        zeros[g] = u32(found.zero);
    }
}
