// d_x of im2col: one thread a value of the images adds up what was taken from it.
// constants: WG
#include "part/windows.cuh"

using Params = Windows;

KERNEL(col2im)(const float* d_patches, float* d_x, Params p, Variant) {
    const u32 i = thread_index();
    const u32 pixels = p.height * p.width, values = p.channels * pixels, area = p.kernel_height * p.kernel_width;
    if (i >= p.images * values) return;
    const u32 image = i / values, channel = i % values / p.channel_step % p.channels;
    const u32 pixel = i % values / p.pixel_step % pixels;
    float sum = 0.0f;
    for (u32 place = 0; place < area; place++) {
        u32 oy, ox;
        if (!window_over(p, pixel, place / p.kernel_width, place % p.kernel_width, oy, ox)) continue;
        const u32 window = (image * p.out_height + oy) * p.out_width + ox;
        sum += d_patches[(window * p.channels + channel) * area + place];
    }
    d_x[i] = sum;
}
