// patches[(n, oy, ox), (c, ky, kx)] = x[n, c, oy * stride + ky - padding, ox * stride + kx - padding], 0 outside.
override WG: u32 = 256u;

struct Params {
    images: u32, channels: u32, height: u32, width: u32, kernel_height: u32, kernel_width: u32, stride: u32, padding: u32,
    out_height: u32, out_width: u32, channel_step: u32, pixel_step: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> patches: array<f32>;
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
    let area = params.kernel_height * params.kernel_width;
    let cols = params.channels * area;
    let windows = params.out_height * params.out_width;
    if i >= params.images * windows * cols { return; }
    let window = i / cols;
    let image = window / windows;
    let channel = i % cols / area;
    let place = i % area;
    let at = pixel(
        window % windows / params.out_width, window % params.out_width,
        place / params.kernel_width, place % params.kernel_width,
    );
    var value = 0.0;
    if at < params.height * params.width {
        value = x[image * params.channels * params.height * params.width + channel * params.channel_step + at * params.pixel_step];
    }
    patches[i] = value;
}
