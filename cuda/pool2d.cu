// out[(n, oy, ox), c] = the largest value of channel c in the window, or with MEAN the mean, 0 in the padding.
// constants: WG MEAN
#include "part/windows.cuh"

using Params = Windows;

KERNEL(pool2d)(const float* x, float* out, Params p, Variant v) {
    const u32 i = thread_index();
    const u32 windows = p.out_height * p.out_width, pixels = p.height * p.width;
    if (i >= p.images * windows * p.channels) return;
    const u32 window = i / p.channels, channel = i % p.channels;
    const float* image = x + window / windows * p.channels * pixels + channel * p.channel_step;
    float sum = 0.0f, best = 0.0f;
    bool found = false;
    for (u32 ky = 0; ky < p.kernel_height; ky++) {
        for (u32 kx = 0; kx < p.kernel_width; kx++) {
            const u32 at = pixel_at(p, window % windows / p.out_width, window % p.out_width, ky, kx);
            if (at >= pixels) continue;
            const float value = image[at * p.pixel_step];
            sum += value;
            if (!found || value > best) best = value;
            found = true;
        }
    }
    const bool mean = v.constants[1] == 1;
    out[i] = mean ? sum / float(p.kernel_height * p.kernel_width) : best;
}
