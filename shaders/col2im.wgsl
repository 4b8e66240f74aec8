// d_x of im2col: one invocation a value of the images adds up what was taken from it.
override WG: u32 = 256u;

struct Params {
    images: u32, channels: u32, height: u32, width: u32, kernel_height: u32, kernel_width: u32, stride: u32, padding: u32,
    out_height: u32, out_width: u32, channel_step: u32, pixel_step: u32,
}

@group(0) @binding(0) var<storage, read> d_patches: array<f32>;
@group(0) @binding(1) var<storage, read_write> d_x: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = (wg.y * count.x + wg.x) * WG + lid;
    let pixels = params.height * params.width;
    let values = params.channels * pixels;
    if i >= params.images * values { return; }
    let image = i / values;
    let channel = i % values / params.channel_step % params.channels;
    let pixel = i % values / params.pixel_step % pixels;
    let area = params.kernel_height * params.kernel_width;
    var sum = 0.0;
    for (var place = 0u; place < area; place++) {
        // Differences below 0 wrap around, far beyond the last window.
        let y = pixel / params.width + params.padding - place / params.kernel_width;
        let x = pixel % params.width + params.padding - place % params.kernel_width;
        let oy = y / params.stride;
        let ox = x / params.stride;
        if y % params.stride == 0u && x % params.stride == 0u && oy < params.out_height && ox < params.out_width {
            let window = (image * params.out_height + oy) * params.out_width + ox;
            sum += d_patches[(window * params.channels + channel) * area + place];
        }
    }
    d_x[i] = sum;
}
