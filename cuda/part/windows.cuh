// Windows that slide over images; src/kernel/im2col.rs says what lies where.
#pragma once
#include "part/prelude.cuh"

struct Windows {
    u32 images, channels, height, width, kernel_height, kernel_width, stride, padding, out_height, out_width, channel_step, pixel_step;
};

// The pixel at a place in a window, or an index beyond the image.
DEVICE u32 pixel_at(const Windows& p, u32 oy, u32 ox, u32 ky, u32 kx) {
    // Places before the image wrap around, far beyond its end.
    const u32 y = oy * p.stride + ky - p.padding, x = ox * p.stride + kx - p.padding;
    return y < p.height && x < p.width ? y * p.width + x : p.height * p.width;
}

// Whether there is a window that has a pixel at this place, and where it stands.
DEVICE bool window_over(const Windows& p, u32 pixel, u32 ky, u32 kx, u32& oy, u32& ox) {
    // Differences below 0 wrap around, far beyond the last window.
    const u32 y = pixel / p.width + p.padding - ky, x = pixel % p.width + p.padding - kx;
    oy = y / p.stride;
    ox = x / p.stride;
    return y % p.stride == 0 && x % p.stride == 0 && oy < p.out_height && ox < p.out_width;
}
