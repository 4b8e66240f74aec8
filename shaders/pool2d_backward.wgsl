// d_x of pool2d: one invocation a value of the images adds up the gradients of the windows whose largest value it is, or
// with MEAN a share of those of all windows it lies in.
override WG: u32 = 256u;
override MEAN: u32 = 0u;

struct Params {
    images: u32, channels: u32, height: u32, width: u32, kernel_height: u32, kernel_width: u32, stride: u32, padding: u32,
    out_height: u32, out_width: u32, channel_step: u32, pixel_step: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> d_y: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_x: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

// The pixel at a place in a window, or an index beyond the image.
fn pixel(oy: u32, ox: u32, ky: u32, kx: u32) -> u32 {
    // Places before the image wrap around, far beyond its end.
    let y = oy * params.stride + ky - params.padding;
    let x = ox * params.stride + kx - params.padding;
    return select(params.height * params.width, y * params.width + x, y < params.height && x < params.width);
}

// The pixel of the first largest value of a window.
fn largest(first: u32, oy: u32, ox: u32) -> u32 {
    let pixels = params.height * params.width;
    var best = 0.0;
    var found = pixels;
    for (var ky = 0u; ky < params.kernel_height; ky++) {
        for (var kx = 0u; kx < params.kernel_width; kx++) {
            let at = pixel(oy, ox, ky, kx);
            if at >= pixels { continue; }
            let value = x[first + at * params.pixel_step];
            if found == pixels || value > best {
                best = value;
                found = at;
            }
        }
    }
    return found;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = (wg.y * count.x + wg.x) * WG + lid;
    let pixels = params.height * params.width;
    let values = params.channels * pixels;
    if i >= params.images * values { return; }
    let image = i / values;
    let channel = i % values / params.channel_step % params.channels;
    let own = i % values / params.pixel_step % pixels;
    let first = image * values + channel * params.channel_step;
    var sum = 0.0;
    for (var ky = 0u; ky < params.kernel_height; ky++) {
        for (var kx = 0u; kx < params.kernel_width; kx++) {
            // Differences below 0 wrap around, far beyond the last window.
            let row = own / params.width + params.padding - ky;
            let col = own % params.width + params.padding - kx;
            let oy = row / params.stride;
            let ox = col / params.stride;
            if row % params.stride != 0u || col % params.stride != 0u || oy >= params.out_height || ox >= params.out_width { continue; }
            if MEAN == 1u || largest(first, oy, ox) == own {
                sum += d_y[((image * params.out_height + oy) * params.out_width + ox) * params.channels + channel];
            }
        }
    }
    d_x[i] = select(sum, sum / f32(params.kernel_height * params.kernel_width), MEAN == 1u);
}
