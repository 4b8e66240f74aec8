// Activation functions and their derivatives; src/activation.rs says why they are written so.
#pragma once
#include "part/prelude.cuh"

// Largest exponent that is formed: its exponential, and that plus one, are far from overflow.
constexpr float MOST_EXPONENT = 80.0f;

// The chance that a normal variable lies further from 0 than a, by a fit of its logarithm over a.
DEVICE float two_sided_tail(float a) {
    a = fminf(a, 10.0f);
    float fit = -1.6044322e-6f;
    fit = fit * a + 2.3447223e-5f;
    fit = fit * a - 1.1304113e-4f;
    fit = fit * a - 1.2806921e-4f;
    fit = fit * a + 4.9321195e-3f;
    fit = fit * a - 3.6407687e-2f;
    fit = fit * a - 3.182938e-1f;
    fit = fit * a - 7.978857e-1f;
    return expf(a * fit);
}

// The exponent of the sigmoid that GELU in its tanh form is; x is within -16 .. 16.
DEVICE float tanh_exponent(float x) { return -x * (1.5957692f + 0.071354814f * x * x); }

// The function named by a variant's `function`.
DEVICE float activation(u32 function, float x) {
    switch (function) {
        case SILU: return x / (1.0f + expf(fminf(-x, MOST_EXPONENT)));
        case GELU: return fmaxf(x, 0.0f) - 0.5f * fabsf(x) * two_sided_tail(fabsf(x));
        case GELU_TANH: return x / (1.0f + expf(fminf(tanh_exponent(clamp(x, -16.0f, 16.0f)), MOST_EXPONENT)));
        case RELU: return fmaxf(x, 0.0f);
        case RELU2: return fmaxf(x, 0.0f) * fmaxf(x, 0.0f);
        default: return 1.0f / (1.0f + expf(fminf(-x, MOST_EXPONENT)));
    }
}

// Its derivative, named by a variant's `slope`.
DEVICE float slope(u32 function, float x) {
    const float near = clamp(x, -MOST_EXPONENT, MOST_EXPONENT);
    switch (function) {
        case SILU: {
            const float sigmoid = 1.0f / (1.0f + expf(-near));
            return sigmoid * (1.0f + near * (1.0f - sigmoid));
        }
        case GELU: {
            const float within = clamp(x, -16.0f, 16.0f), tail = 0.5f * two_sided_tail(fabsf(x));
            const float density = 0.3989423f * expf(fmaxf(-0.5f * within * within, -MOST_EXPONENT));
            return (x < 0.0f ? tail : 1.0f - tail) + within * density;
        }
        case GELU_TANH: {
            const float within = clamp(x, -16.0f, 16.0f);
            const float sigmoid = 1.0f / (1.0f + expf(clamp(tanh_exponent(within), -MOST_EXPONENT, MOST_EXPONENT)));
            return sigmoid + within * sigmoid * (1.0f - sigmoid) * (1.5957692f + 0.21406444f * within * within);
        }
        case RELU: return x > 0.0f ? 1.0f : 0.0f;
        case RELU2: return 2.0f * fmaxf(x, 0.0f);
        default: {
            const float sigmoid = 1.0f / (1.0f + expf(-near));
            return sigmoid * (1.0f - sigmoid);
        }
    }
}
