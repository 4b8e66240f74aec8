// Numbers as a device computes them: functions without state, and the tensor cores. Part of emulation.hpp.
#pragma once

template <class To, class From> To emulated_bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof(To));
    return to;
}
inline uint32_t __float_as_uint(float x) { return emulated_bits<uint32_t>(x); }
inline float __uint_as_float(uint32_t x) { return emulated_bits<float>(x); }
inline int __float_as_int(float x) { return emulated_bits<int>(x); }
inline float __int_as_float(int x) { return emulated_bits<float>(x); }

inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((static_cast<uint64_t>(a) * b) >> 32); }
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) {
    return static_cast<unsigned>(((static_cast<uint64_t>(high) << 32) | low) >> (by & 31));
}
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned select) {
    const uint64_t both = (static_cast<uint64_t>(high) << 32) | low;
    unsigned out = 0;
    for (unsigned i = 0; i < 4; i++) {
        const unsigned choice = select >> (4 * i) & 15;
        unsigned byte = static_cast<unsigned>(both >> (8 * (choice & 7))) & 255;
        if (choice & 8) byte = byte & 128 ? 255 : 0;
        out |= byte << (8 * i);
    }
    return out;
}
inline int __dp4a(int a, int b, int sum) {
    for (unsigned i = 0; i < 32; i += 8) sum += static_cast<int8_t>(a >> i) * static_cast<int8_t>(b >> i);
    return sum;
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned sum) {
    for (unsigned i = 0; i < 32; i += 8) sum += (a >> i & 255) * (b >> i & 255);
    return sum;
}

// Rounded by themselves, whatever the compiler may fuse: the value passes through memory.
inline float emulated_rounded(float x) {
    volatile float rounded = x;
    return rounded;
}
inline float __fmul_rn(float a, float b) { return emulated_rounded(a * b); }
inline float __fadd_rn(float a, float b) { return emulated_rounded(emulated_rounded(a) + emulated_rounded(b)); }
inline float __fsub_rn(float a, float b) { return emulated_rounded(emulated_rounded(a) - emulated_rounded(b)); }
inline float __fdiv_rn(float a, float b) { return emulated_rounded(a / b); }
inline float __frcp_rn(float a) { return emulated_rounded(1.0f / a); }
inline float __fsqrt_rn(float a) { return emulated_rounded(sqrtf(a)); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __expf(float x) { return expf(x); }

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline unsigned long long min(unsigned long long a, unsigned long long b) { return a < b ? a : b; }
inline unsigned long long max(unsigned long long a, unsigned long long b) { return a > b ? a : b; }
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { uint32_t x, y; };
struct alignas(16) uint4 { uint32_t x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
template <class T> T __ldg(const T* at) { return *at; }

// cuda/part/tensor.cuh, where the functions are described.
inline void copy16(void* shared, const void* global, bool inside) { emulation::copy16(shared, global, inside); }
inline void copy_commit() { emulation::copy_commit(); }
template <uint32_t PENDING> void copy_wait() { emulation::copy_wait(PENDING); }

inline float emulated_f16(uint32_t pair, unsigned i) { return static_cast<float>(emulated_bits<_Float16>(static_cast<uint16_t>(pair >> (16 * i)))); }
inline float emulated_bf16(uint32_t pair, unsigned i) { return __uint_as_float(pair >> (16 * i) << 16); }
inline uint32_t emulated_to_f16(float x) { return emulated_bits<uint16_t>(static_cast<_Float16>(x)); }
inline uint32_t pack_f16x2(float low, float high) { return emulated_to_f16(low) | (emulated_to_f16(high) << 16); }
inline uint32_t sub_f16x2(uint32_t a, uint32_t b) {
    return pack_f16x2(emulated_f16(a, 0) - emulated_f16(b, 0), emulated_f16(a, 1) - emulated_f16(b, 1));
}
inline uint32_t mul_f16x2(uint32_t a, uint32_t b) {
    return pack_f16x2(emulated_f16(a, 0) * emulated_f16(b, 0), emulated_f16(a, 1) * emulated_f16(b, 1));
}
inline uint32_t fma_f16x2(uint32_t a, uint32_t b, uint32_t c) {
    // The product of two f16 is exact in f64 and so is its sum with a third but for the last of 53 bits.
    const auto one = [&](unsigned i) {
        return static_cast<uint32_t>(emulated_bits<uint16_t>(
            static_cast<_Float16>(static_cast<double>(emulated_f16(a, i)) * emulated_f16(b, i) + emulated_f16(c, i))));
    };
    return one(0) | (one(1) << 16);
}
inline uint32_t and_or(uint32_t a, uint32_t mask, uint32_t bits) { return (a & mask) | bits; }

inline void load_matrices(uint32_t (&out)[4], const void* shared, EMULATION_SITE) {
    const emulation::Shown* rows = emulation::warp_exchange(~0u, &shared, sizeof(shared), {file, line});
    const unsigned lane = emulation::lane();
    for (unsigned m = 0; m < 4; m++)
        std::memcpy(&out[m], emulation::shown<const char*>(rows[8 * m + lane / 4]) + lane % 4 * 4, 4);
}
inline void load_matrices_transposed(uint32_t (&out)[4], const void* shared, EMULATION_SITE) {
    const emulation::Shown* rows = emulation::warp_exchange(~0u, &shared, sizeof(shared), {file, line});
    const unsigned lane = emulation::lane();
    for (unsigned m = 0; m < 4; m++) {
        uint16_t pair[2];
        for (unsigned i = 0; i < 2; i++)
            std::memcpy(&pair[i], emulation::shown<const char*>(rows[8 * m + lane % 4 * 2 + i]) + lane / 4 * 2, 2);
        out[m] = pair[0] | (static_cast<uint32_t>(pair[1]) << 16);
    }
}

namespace emulation {
// The parts of two matrices that a lane holds.
struct Fragments {
    uint32_t a[4], b[2];
};
// Adds to each of a lane's four sums the products of its row and column. `per_word` elements lie in a word, and
// `product(x, y, i)` multiplies element i of two words.
template <class Sum, class Product>
void multiply(Sum (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, unsigned per_word, Product product, Site site) {
    const Fragments own = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
    const Shown* all = warp_exchange(~0u, &own, sizeof(own), site);
    for (unsigned q = 0; q < 4; q++) {
        const unsigned row = lane() / 4, upper = q / 2, col = lane() % 4 * 2 + q % 2;
        Sum sum = 0;
        // A row of a, a column of b: each of two halves lies in four lanes.
        for (unsigned half = 0; half < 2; half++)
            for (unsigned part = 0; part < 4; part++) {
                const uint32_t x = shown<Fragments>(all[row * 4 + part]).a[half * 2 + upper];
                const uint32_t y = shown<Fragments>(all[col * 4 + part]).b[half];
                for (unsigned i = 0; i < per_word; i++) sum += product(x, y, i);
            }
        sums[q] += sum;
    }
}
} // namespace emulation

inline void mma_f16(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, EMULATION_SITE) {
    const auto product = [](uint32_t x, uint32_t y, unsigned i) { return emulated_f16(x, i) * emulated_f16(y, i); };
    emulation::multiply(sums, a, b0, b1, 2, product, {file, line});
}
inline void mma_bf16(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, EMULATION_SITE) {
    const auto product = [](uint32_t x, uint32_t y, unsigned i) { return emulated_bf16(x, i) * emulated_bf16(y, i); };
    emulation::multiply(sums, a, b0, b1, 2, product, {file, line});
}
inline void mma_s8(int (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, EMULATION_SITE) {
    const auto product = [](uint32_t x, uint32_t y, unsigned i) {
        return static_cast<int8_t>(x >> (8 * i)) * static_cast<int8_t>(y >> (8 * i));
    };
    emulation::multiply(sums, a, b0, b1, 4, product, {file, line});
}
