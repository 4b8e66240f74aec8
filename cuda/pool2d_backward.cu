// d_x of pool2d: one thread a value of the images adds up the gradients of the windows whose largest value it is, or with
// MEAN a share of those of all windows it lies in.
// constants: WG MEAN
#include "part/windows.cuh"

using Params = Windows;

// The pixel of the first largest value of a window.
DEVICE u32 largest(const Params& p, const float* image, u32 oy, u32 ox) {
    const u32 pixels = p.height * p.width;
    float best = 0.0f;
    u32 found = pixels;
    for (u32 ky = 0; ky < p.kernel_height; ky++) {
        for (u32 kx = 0; kx < p.kernel_width; kx++) {
            const u32 at = pixel_at(p, oy, ox, ky, kx);
            if (at >= pixels) continue;
            const float value = image[at * p.pixel_step];
            if (found == pixels || value > best) {
                best = value;
                found = at;
            }
        }
    }
    return found;
}

KERNEL(pool2d_backward)(const float* x, const float* d_y, float* d_x, Params p, Variant v) {
    const bool mean = v.constants[1] == 1;
    const u32 i = thread_index();
    const u32 pixels = p.height * p.width, values = p.channels * pixels;
    if (i >= p.images * values) return;
    const u32 image = i / values, channel = i % values / p.channel_step % p.channels;
    const u32 own = i % values / p.pixel_step % pixels;
    const float* first = x + image * values + channel * p.channel_step;
    float sum = 0.0f;
    for (u32 ky = 0; ky < p.kernel_height; ky++) {
        for (u32 kx = 0; kx < p.kernel_width; kx++) {
            u32 oy, ox;
            if (!window_over(p, own, ky, kx, oy, ox)) continue;
            if (mean || largest(p, first, oy, ox) == own)
                sum += d_y[((image * p.out_height + oy) * p.out_width + ox) * p.channels + channel];
        }
    }
    d_x[i] = mean ? sum / float(p.kernel_height * p.kernel_width) : sum;
}
