// Codes of a weight and activations as operands of tensor cores.
//
// Lane 4 g + t of a warp holds rows g and g + 8 of a 16-row operand and row g of an 8-row one, at certain columns that
// depend on t. Which columns those are does not matter to a sum over columns as long as both operands agree. So a lane
// takes eight neighbouring columns, t-th of 32, which are whole bytes of packed codes, and codes need not move between
// lanes. For two steps of 16 columns (f16) or one of 32 (int8), the eight fall into pairs or fours that are cheap to cut
// out of a word; activations are put in the same order.
#pragma once
#include "part/number.cuh"
#include "part/tensor.cuh"

// Eight codes: of 8 bits four in each word, of 4 bits as stored, of 2 and 3 bits four in each half of `low`.
struct Codes { u32 low, high; };

// Codes of 2 bits: the lower or upper half of a word, spread.
DEVICE Codes spread2(u32 word, u32 upper) { return {__byte_perm(word, 0, upper ? 0x4342 : 0x4140), 0}; }

// Codes of 3 bits: the lower 24 bits, spread.
DEVICE Codes spread3(u32 eight) { return {(eight & 0xffffu) | ((eight << 4) & 0xffff0000u), 0}; }

// The i-th eight of the 32 codes in BITS words.
template <u32 BITS> DEVICE Codes eight_of(const u32 (&words)[BITS], u32 i) {
    if constexpr (BITS == 2) {
        return spread2(words[i / 2], i % 2);
    } else if constexpr (BITS == 3) {
        const u32 word = 3 * i / 4;
        return spread3(__funnelshift_r(words[word], words[min(word + 1, 2u)], 24 * i % 32));
    } else if constexpr (BITS == 4) {
        return {words[i], 0};
    } else {
        return {words[2 * i], words[2 * i + 1]};
    }
}

// Four pairs of f16, pair j of codes j and j + 4, less the zero point, which stands in both halves of `zero`. A code
// becomes the low bits of 1024, or with a shift of up to 10 - BITS bits less those of a smaller power of two; the
// difference to the same power plus the zero point is exact.
template <u32 BITS> DEVICE void pairs_of(u32 (&pairs)[4], Codes codes, u32 zero) {
    constexpr u32 mask = ((1u << BITS) - 1) * 0x10001u, one = 0x64006400u;
    UNROLL for (u32 j = 0; j < 4; j++) {
        if constexpr (BITS == 8) {
            const u32 bytes = __byte_perm(codes.low, codes.high, j | (4 + j) << 8);
            pairs[j] = sub_f16x2(and_or(bytes, mask, one), one + zero);
        } else {
            const u32 moved = BITS == 4 ? j / 2 * 8 : BITS == 3 ? j / 3 * 9 : 0, in_place = j * BITS - moved;
            const u32 value = and_or(codes.low >> moved, mask << in_place, one);
            if (in_place == 0) {
                pairs[j] = sub_f16x2(value, one + zero);
            } else {
                const u32 unit = ((15 - in_place) << 10) * 0x10001u, offset = (0x8000u | (25 - in_place) << 10) * 0x10001u;
                pairs[j] = fma_f16x2(value, unit, offset + (zero << in_place));
            }
        }
    }
}

// Eight f16 in the order of `pairs_of`.
DEVICE void pairs_of(u32 (&pairs)[4], uint4 eight) {
    pairs[0] = __byte_perm(eight.x, eight.z, 0x5410);
    pairs[1] = __byte_perm(eight.x, eight.z, 0x7632);
    pairs[2] = __byte_perm(eight.y, eight.w, 0x5410);
    pairs[3] = __byte_perm(eight.y, eight.w, 0x7632);
}

// Eight codes as two words of bytes; those of 8 bits are 128 less than stored.
template <u32 BITS> DEVICE void bytes_of(u32& first, u32& second, Codes codes) {
    if constexpr (BITS == 2) {
        const u32 pairs = codes.low | (codes.low << 6);
        first = pairs & 0x03030303u;
        second = (pairs >> 4) & 0x03030303u;
    } else if constexpr (BITS == 3) {
        first = (codes.low & 0x00070007u) | ((codes.low << 5) & 0x07000700u);
        second = ((codes.low >> 6) & 0x00070007u) | ((codes.low >> 1) & 0x07000700u);
    } else if constexpr (BITS == 4) {
        first = codes.low & 0x0f0f0f0fu;
        second = (codes.low >> 4) & 0x0f0f0f0fu;
    } else {
        first = codes.low ^ 0x80808080u;
        second = codes.high ^ 0x80808080u;
    }
}

// Eight int8 in the order of `bytes_of`.
template <u32 BITS> DEVICE void bytes_of(u32& first, u32& second, u32 low, u32 high) {
    first = __byte_perm(low, high, BITS == 8 ? 0x3210 : BITS == 4 ? 0x6420 : 0x5410);
    second = __byte_perm(low, high, BITS == 8 ? 0x7654 : BITS == 4 ? 0x7531 : 0x7632);
}

// Powers of two that bring numbers of at most `largest` in size below 2^15, where f16 ends near 2^16, and back. An infinity
// or a NaN stays what it is.
struct Powers { float there, back; };
DEVICE Powers powers_of(float largest) {
    const u32 exponent = max(bits_of(largest) >> 23, 15u);
    return {float_of((268 - exponent) << 23), float_of((exponent - 14) << 23)};
}

// The f32 of the f16 in the lower half of a word.
DEVICE float from_f16(u32 half) {
#ifdef HOST
    return float_of(f16_bits(half & 0xffffu));
#else
    float out;
    asm("{ .reg .b16 low, high; mov.b32 {low, high}, %1; cvt.f32.f16 %0, low; }" : "=f"(out) : "r"(half));
    return out;
#endif
}

// The scale of a group as it is stored, and as a number: apart, so that nothing waits for what is read ahead.
DEVICE u32 scale_bits(const u32* scales, u32 g, u32 type) { return type == F32 ? scales[g] : half_at(scales, g); }
DEVICE float scale_of(u32 bits, u32 type) {
    return type == F32 ? float_of(bits) : type == F16 ? from_f16(bits) : float_of(bf16_bits(bits));
}

// The zero point of a group as a code.
DEVICE u32 zero_code(const u32* zeros, u32 g, u32 kind, u32 bits) {
    return kind == BYTE ? reinterpret_cast<const u8*>(zeros)[g] : 1u << (bits - 1);
}

// Two numbers as a pair of f16 and the pair of what those lack: together off by 2^-23 of a number at most, and by 2^-25
// where what it lacks is below f16's normal numbers.
DEVICE void split_pair(u32& high, u32& low, float first, float second) {
    high = pack_f16x2(first, second);
    low = pack_f16x2(first - from_f16(high), second - from_f16(high >> 16));
}

// Eight numbers times a power of two in the order of `pairs_of`.
DEVICE void split_pairs(u32 (&high)[4], u32 (&low)[4], const float (&eight)[8], float power) {
    UNROLL for (u32 j = 0; j < 4; j++) split_pair(high[j], low[j], eight[j] * power, eight[j + 4] * power);
}
