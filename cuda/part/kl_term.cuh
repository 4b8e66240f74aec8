// A term of a divergence.
#pragma once
#include "part/prelude.cuh"

// p (d + e^-d - 1) for d = log p - log q: by its series where the terms would cancel.
DEVICE float kl_term(float p, float q, float d) {
    if (fabsf(d) >= 0.5f) return p * (d - 1.0f) + q;
    const float rest = 1.0f - d / 5.0f * (1.0f - d / 6.0f * (1.0f - d / 7.0f * (1.0f - d / 8.0f)));
    return p * (d * d) * 0.5f * (1.0f - d / 3.0f * (1.0f - d / 4.0f * rest));
}
