// Codes of 2, 3, 4 or 8 bits in a dense little-endian stream of words, their scales and zero points.
#pragma once
#include "part/number.cuh"

// Code k of a row that starts at word `row_word`. Only codes of 3 bits straddle two words.
DEVICE u32 code_at(const u32* codes, u32 row_word, u32 k, u32 bits) {
    const u32 word = row_word + k * bits / 32, shift = k * bits % 32;
    u32 code = codes[word] >> shift;
    if (shift + bits > 32) code |= codes[word + 1] << (32 - shift);
    return code & ((1u << bits) - 1);
}

// Codes k to k + 7 as the low 8 * bits of the result; k is a multiple of 8, so they are whole bytes.
DEVICE u64 eight_codes(const u32* codes, u32 row_word, u32 k, u32 bits) {
    const u32 word = row_word + k * bits / 32, shift = k * bits % 32;
    u64 eight = codes[word] >> shift;
    if (shift + 8 * bits > 32) eight |= u64(codes[word + 1]) << (32 - shift);
    return eight;
}

// Codes k to k + 3 of a row as the bytes of one word, those of 8 bits less 128, see `quad_bias`. Codes past the end of
// the row mean nothing; k is a multiple of 4.
DEVICE u32 quad_at(const u32* codes, u32 row_word, u32 k, u32 bits) {
    const u32 word = row_word + k * bits / 32, shift = k * bits % 32;
    u32 quad = codes[word] >> shift;
    if (shift + 4 * bits > 32) quad |= codes[word + 1] << (32 - shift);
    if (bits == 8) return quad ^ 0x80808080u;
    // Halves apart, then quarters.
    const u32 code = (1u << bits) - 1, pair = code | (code << bits);
    quad &= (1u << (4 * bits)) - 1;
    quad = (quad | (quad << (16 - 2 * bits))) & (pair | (pair << 16));
    return (quad | (quad << (8 - bits))) & (code * 0x01010101u);
}

// What `quad_at` takes off each code.
DEVICE i32 quad_bias(u32 bits) { return bits == 8 ? 128 : 0; }

// The scale of group g, stored as `type`.
DEVICE float scale_at(const u32* scales, u32 g, u32 type) { return element(scales, g, type); }

// The zero point of group g: the middle code, or one a byte.
DEVICE float zero_at(const u32* zeros, u32 g, u32 kind, u32 bits) {
    if (kind == BYTE) return float(reinterpret_cast<const u8*>(zeros)[g]);
    return float(1u << (bits - 1));
}
