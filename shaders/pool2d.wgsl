// out[(n, oy, ox), c] = the largest value of channel c in the window, or with MEAN the mean, 0 in the padding.
override WG: u32 = 256u;
override MEAN: u32 = 0u;

struct Params {
    images: u32, channels: u32, height: u32, width: u32, kernel_height: u32, kernel_width: u32, stride: u32, padding: u32,
    out_height: u32, out_width: u32, channel_step: u32, pixel_step: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

// The pixel at a place in a window, or an index beyond the image.
fn pixel(oy: u32, ox: u32, ky: u32, kx: u32) -> u32 {
    // Places before the image wrap around, far beyond its end.
    let y = oy * params.stride + ky - params.padding;
    let x = ox * params.stride + kx - params.padding;
    return select(params.height * params.width, y * params.width + x, y < params.height && x < params.width);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = (wg.y * count.x + wg.x) * WG + lid;
    let windows = params.out_height * params.out_width;
    if i >= params.images * windows * params.channels { return; }
    let window = i / params.channels;
    let channel = i % params.channels;
    let pixels = params.height * params.width;
    let first = window / windows * params.channels * pixels + channel * params.channel_step;
    var sum = 0.0;
    var best = 0.0;
    var found = false;
    for (var ky = 0u; ky < params.kernel_height; ky++) {
        for (var kx = 0u; kx < params.kernel_width; kx++) {
            let at = pixel(window % windows / params.out_width, window % params.out_width, ky, kx);
            if at >= pixels { continue; }
            let value = x[first + at * params.pixel_step];
            sum += value;
            if !found || value > best { best = value; }
            found = true;
        }
    }
    out[i] = select(best, sum / f32(params.kernel_height * params.kernel_width), MEAN == 1u);
}
