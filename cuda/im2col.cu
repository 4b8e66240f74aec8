// patches[(n, oy, ox), (c, ky, kx)] = x[n, c, oy * stride + ky - padding, ox * stride + kx - padding], 0 outside.
// constants: WG
#include "part/windows.cuh"

using Params = Windows;

KERNEL(im2col)(const float* x, float* patches, Params p, Variant) {
    const u32 i = thread_index();
    const u32 area = p.kernel_height * p.kernel_width, cols = p.channels * area;
    const u32 windows = p.out_height * p.out_width, pixels = p.height * p.width;
    if (i >= p.images * windows * cols) return;
    const u32 window = i / cols, image = window / windows, channel = i % cols / area, place = i % area;
    const u32 at = pixel_at(p, window % windows / p.out_width, window % p.out_width, place / p.kernel_width, place % p.kernel_width);
    float value = 0.0f;
    if (at < pixels) value = x[image * p.channels * pixels + channel * p.channel_step + at * p.pixel_step];
    patches[i] = value;
}
