// Per column: smallest, largest, mean and sum of squared distances from the mean (m2), of a batch by Welford's recurrence,
// then together with the state of the batches before it by Chan's formula. One invocation a column.
override WG: u32 = 64u;

struct Params { rows: u32, cols: u32, before: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> state: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let cols = params.cols;
    let col = (wg.y * count.x + wg.x) * WG + lid;
    if col >= cols { return; }
    var least = 3.4028234e38;
    var most = -3.4028234e38;
    var mean = 0.0;
    var m2 = 0.0;
    for (var row = 0u; row < params.rows; row++) {
        let value = x[row * cols + col];
        least = select(least, value, value < least);
        most = select(most, value, value > most);
        let away = value - mean;
        mean += away * (1.0 / f32(row + 1u));
        m2 += away * (value - mean);
    }
    if params.before > 0u {
        let before = f32(params.before);
        let share = f32(params.rows) / (before + f32(params.rows));
        let away = mean - state[2u * cols + col];
        least = min(least, state[col]);
        most = max(most, state[cols + col]);
        mean = state[2u * cols + col] + away * share;
        m2 = state[3u * cols + col] + (m2 + away * away * (before * share));
    }
    state[col] = least;
    state[cols + col] = most;
    state[2u * cols + col] = mean;
    state[3u * cols + col] = m2;
}
