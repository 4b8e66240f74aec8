// Elements of `w` in another storage type, TO: 0 f32, 1 f16, 2 bf16; half to even. A thread takes eight elements at a time.
// constants: TO WG
#include "part/exact.cuh"
#include "part/number.cuh"

struct Params { u32 count; };

// The 16 bits of an f32 as f16 (1) or bf16 (2).
DEVICE u32 narrow(float value, u32 to) {
    const u32 bits = bits_of(value), size = bits & 0x7fffffffu, sign = (bits >> 16) & 0x8000u;
    // NaN: quiet, with the upper bits of its payload.
    if (size > 0x7f800000u) return sign | (to == 2 ? 0x0040u | (size >> 16) : 0x7e00u | ((size >> 13) & 0x03ffu));
    const u32 rounded = bits_of(round_to(float_of(size), to));
    if (to == 2) return sign | (rounded >> 16);
    if (rounded >= 0x7f800000u) return sign | 0x7c00u;
    if (rounded < 0x38800000u) return sign | u32(float_of(rounded) * 16777216.0f);
    return sign | ((rounded - 0x38000000u) >> 13);
}

KERNEL(cast)(const u32* w, u32* out, Params p, Variant v) {
    const u32 to = v.constants[0];
    for (u32 unit = thread_index(); unit < (p.count + 7) / 8; unit += thread_count()) {
        const u32 first = 8 * unit, left = min(p.count - first, 8u);
        Eight values = {};
        if (left == 8) {
            values = eight_elements(w, first, v.weight);
        } else {
            for (u32 k = 0; k < left; k++) values.at[k] = element(w, first + k, v.weight);
        }
        u32 words[8];
        UNROLL for (u32 k = 0; k < 8; k++) words[k] = bits_of(values.at[k]);
        const u32 count = to == 0 ? left : (left + 1) / 2, start = to == 0 ? first : first / 2;
        if (to != 0) {
            UNROLL for (u32 k = 0; k < 4; k++) words[k] = narrow(values.at[2 * k], to) | (narrow(values.at[2 * k + 1], to) << 16);
        }
        if (left == 8) {
            uint4* four = reinterpret_cast<uint4*>(out + start);
            four[0] = make_uint4(words[0], words[1], words[2], words[3]);
            if (to == 0) four[1] = make_uint4(words[4], words[5], words[6], words[7]);
        } else {
            for (u32 k = 0; k < count; k++) out[start + k] = words[k];
        }
    }
}
