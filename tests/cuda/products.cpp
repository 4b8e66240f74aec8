// The products' entries for tensor cores against sums in f64, at sizes below, at and above a tile, primes and tails of
// groups. Exits with 1 where a result is wrong or a word beside it was written. tests/cuda_products.rs builds it with the
// kernels, and with kernels that have a planted fault.
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "emulation.hpp"

namespace {

using u32 = uint32_t;

struct Variant { u32 weight, activation, scale, codes, zero, function, slope, reserved, constants[4]; };
struct Dense { u32 batch, rows, cols, out_offset, out_stride; };
struct Group { u32 batch, rows, cols, group, groups_per_row, words_per_row, out_offset, out_stride, bias; };
struct Int8 { u32 batch, rows, cols, group, groups_per_row, words_per_row, block, out_offset, out_stride, bias; };

constexpr u32 F32 = 1, F16 = 2, BF16 = 3, MIDDLE = 1, BYTE = 2;

u32 seed = 1;
double uniform() {
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) / double(1 << 24);
}

// A number as it is stored, and its bits.
struct Stored { double value; u32 bits; };
Stored stored(double value, u32 type) {
    if (type == F16) {
        const _Float16 half = static_cast<_Float16>(value);
        return {double(half), std::bit_cast<uint16_t>(half)};
    }
    const u32 bits = std::bit_cast<u32>(float(value)) & (type == BF16 ? 0xffff0000u : ~0u);
    return {std::bit_cast<float>(bits), type == BF16 ? bits >> 16 : bits};
}

// Numbers in words, on a boundary of 16 bytes as device memory is, with nothing readable behind them for the address
// sanitizer.
struct Words {
    u32* at;
    size_t count;
    explicit Words(size_t count) : at(nullptr), count(count) {
        at = static_cast<u32*>(std::aligned_alloc(256, (count * 4 + 255) / 256 * 256));
        std::memset(at, 0, count * 4);
    }
    Words(const Words&) = delete;
    ~Words() { std::free(at); }
};
void put(Words& words, size_t i, u32 bits, u32 type) {
    if (type == F32) words.at[i] = bits;
    else reinterpret_cast<uint16_t*>(words.at)[i] = uint16_t(bits);
}

const char* type_name(u32 type) { return type == F16 ? "f16" : "f32"; }

struct Sizes { u32 batch, rows, cols, group, block; };

constexpr float KEPT = -77.0f;
constexpr u32 OFFSET = 3;

int failures = 0, cases = 0;
std::set<std::string> tried;

// Launches an entry and compares: within `tolerance` of `expected[b * rows + row]`, and untouched beside that.
template <class Params>
void run(const std::string& name, const std::string& what, const Sizes& s, Params p, const Variant& v, std::vector<const Words*> inputs,
         u32 tile_rows, u32 tile_batch, const std::vector<double>& expected, double tolerance) {
    cases++;
    tried.insert(name);
    const emulation::Entry* entry = emulation::find(name.c_str());
    if (!entry) throw std::runtime_error("no entry " + name);
    const u32 stride = s.rows + 5;
    p.out_offset = OFFSET;
    p.out_stride = stride;
    // Room behind the result, as far as a tile that ignores the number of rows would write.
    std::vector<float> out(size_t(s.batch) * stride + OFFSET + 128 * stride, KEPT);
    std::vector<const void*> pointers;
    for (const Words* words : inputs) pointers.push_back(words->at);
    pointers.push_back(out.data());
    std::vector<void*> arguments;
    for (const void*& pointer : pointers) arguments.push_back(&pointer);
    Variant copy = v;
    arguments.push_back(&p);
    arguments.push_back(&copy);
    // As src/kernel/hopper.rs asks for.
    const bool hopper = name.find("hopper") != std::string::npos;
    const u32 threads = hopper ? 384 : 256, shared = hopper ? 1024 + 6 * 128 * (tile_batch + tile_rows * v.constants[0] / 16) : 0;
    const u32 blocks = (s.rows + tile_rows - 1) / tile_rows * ((s.batch + tile_batch - 1) / tile_batch);
    try {
        emulation::launch(*entry, {blocks, 1, 1}, {threads, 1, 1}, shared, arguments.data());
    } catch (const std::runtime_error& error) {
        std::printf("%s %s: %s\n", name.c_str(), what.c_str(), error.what());
        failures++;
        return;
    }
    for (size_t i = 0; i < out.size(); i++) {
        const bool inside = i >= OFFSET && (i - OFFSET) / stride < s.batch && (i - OFFSET) % stride < s.rows;
        const double want = inside ? expected[(i - OFFSET) / stride * s.rows + (i - OFFSET) % stride] : KEPT;
        if (!(std::abs(out[i] - want) <= (inside ? tolerance : 0.0))) {
            std::printf("%s %s: element %zu is %g and not %g, allowed %g\n", name.c_str(), what.c_str(), i, double(out[i]), want, tolerance);
            failures++;
            return;
        }
    }
}

struct Weight {
    std::vector<u32> codes, zeros;
    std::vector<double> scales;
    Words code_words, scale_words, zero_words;
    u32 words_per_row, groups_per_row;

    Weight(const Sizes& s, u32 bits, u32 scale_type, u32 zero_kind)
        : code_words(size_t(s.rows) * ((s.cols * bits + 31) / 32)), scale_words(size_t(s.rows) * groups(s) + 1),
          zero_words((size_t(s.rows) * groups(s) + 3) / 4), words_per_row((s.cols * bits + 31) / 32), groups_per_row(groups(s)) {
        for (u32 row = 0; row < s.rows; row++) {
            for (u32 k = 0; k < s.cols; k++) {
                const u32 code = u32(uniform() * (1 << bits)), bit = k * bits;
                codes.push_back(code);
                u32* word = code_words.at + size_t(row) * words_per_row + bit / 32;
                word[0] |= code << (bit % 32);
                if (bit % 32 + bits > 32) word[1] |= code >> (32 - bit % 32);
            }
        }
        for (u32 g = 0; g < s.rows * groups_per_row; g++) {
            const Stored scale = stored((0.01 + 0.02 * uniform()) * (uniform() < 0.5 ? -1 : 1), scale_type);
            put(scale_words, g, scale.bits, scale_type);
            scales.push_back(scale.value);
            const u32 zero = zero_kind == BYTE ? u32(uniform() * (1 << bits)) : 1u << (bits - 1);
            reinterpret_cast<uint8_t*>(zero_words.at)[g] = uint8_t(zero);
            zeros.push_back(zero);
        }
    }

    static u32 groups(const Sizes& s) { return (s.cols + s.group - 1) / s.group; }
    double steps(const Sizes& s, u32 row, u32 k) const {
        return double(codes[size_t(row) * s.cols + k]) - zeros[row * groups_per_row + k / s.group];
    }
};

// Of every second case, a number of the size of the sums for each column of the result; else a word that none reads.
struct Bias {
    bool given;
    Words words;
    Bias(const Sizes& s, double size) : given(cases % 2 == 1), words(given ? OFFSET + s.rows : 1) {
        for (size_t i = 0; i < words.count; i++) put(words, i, stored((0.5 + uniform()) * size, F32).bits, F32);
    }
    float of(u32 row) const { return given ? std::bit_cast<float>(words.at[OFFSET + row]) : 0.0f; }
};

std::string described(const Sizes& s, u32 bits, u32 scale, u32 zero) {
    return std::to_string(s.batch) + "x" + std::to_string(s.rows) + "x" + std::to_string(s.cols) + "g" + std::to_string(s.group) +
           " block " + std::to_string(s.block) + " bits " + std::to_string(bits) + " scale " + std::to_string(scale) + " zero " +
           std::to_string(zero);
}

// Activations of sizes far apart, where they are f32: each row at a power of ten of its own.
void group(const std::string& name, const Sizes& s, u32 bits, u32 x_type, u32 scale_type, u32 zero_kind, u32 tile_rows, u32 tile_batch) {
    seed = s.rows * 31 + s.cols + bits;
    const Weight w(s, bits, scale_type, zero_kind);
    Words x_words(size_t(s.batch) * s.cols);
    std::vector<double> x;
    for (u32 i = 0; i < s.batch * s.cols; i++) {
        const Stored value = stored(uniform() + 0.5, x_type);
        put(x_words, i, value.bits, x_type);
        x.push_back(value.value);
    }
    const double size = 0.02 * std::fmax(1.0, (1 << bits) / 3.0) * std::sqrt(s.cols);
    const Bias bias(s, size);
    std::vector<double> expected;
    for (u32 b = 0; b < s.batch; b++) {
        for (u32 row = 0; row < s.rows; row++) {
            double sum = bias.of(row);
            for (u32 k = 0; k < s.cols; k++) {
                sum += w.steps(s, row, k) * w.scales[row * w.groups_per_row + k / s.group] * x[size_t(b) * s.cols + k];
            }
            expected.push_back(sum);
        }
    }
    // As the conformance suite allows: 8 units of f32, times the root of the number of terms, of what a sum reaches.
    const double tolerance = 8 * 1.2e-7 * std::sqrt(s.cols) * size;
    const Group p{s.batch, s.rows, s.cols, s.group, w.groups_per_row, w.words_per_row, 0, 0, bias.given};
    const Variant v{0, x_type, scale_type, 1, zero_kind, 0, 0, 0, {bits, s.batch == 1 ? 1u : 8u, 0, 0}};
    run(name, described(s, bits, scale_type, zero_kind), s, p, v,
        {&x_words, &w.code_words, &w.scale_words, &w.zero_words, &bias.words}, tile_rows, tile_batch, expected, tolerance);
}

// Weights in f16.
void dense(const std::string& name, const Sizes& s, u32 x_type, u32 tile_rows, u32 tile_batch) {
    seed = s.rows * 41 + s.cols;
    Words x_words(size_t(s.batch) * s.cols), w_words(size_t(s.rows) * s.cols / 2 + 1);
    std::vector<double> x, w;
    for (u32 i = 0; i < s.batch * s.cols; i++) {
        const Stored value = stored(uniform() - 0.5, x_type);
        put(x_words, i, value.bits, x_type);
        x.push_back(value.value);
    }
    for (u32 i = 0; i < s.rows * s.cols; i++) {
        const Stored value = stored(0.04 * (uniform() - 0.5), F16);
        put(w_words, i, value.bits, F16);
        w.push_back(value.value);
    }
    std::vector<double> expected;
    for (u32 b = 0; b < s.batch; b++) {
        for (u32 row = 0; row < s.rows; row++) {
            double sum = 0;
            for (u32 k = 0; k < s.cols; k++) sum += w[size_t(row) * s.cols + k] * x[size_t(b) * s.cols + k];
            expected.push_back(sum);
        }
    }
    const double tolerance = 8 * 1.2e-7 * std::sqrt(s.cols) * 0.02 * std::sqrt(s.cols);
    const Variant v{F16, x_type, 0, 0, 0, 0, 0, 0, {}};
    run(name, described(s, 16, 0, 0), s, Dense{s.batch, s.rows, s.cols, 0, 0}, v, {&x_words, &w_words}, tile_rows, tile_batch, expected,
        tolerance);
}

// Where a row is one block and one group, the result is the product of an integer and a scale, and must be equal.
void int8(const std::string& name, const Sizes& s, u32 bits, u32 scale_type, u32 zero_kind, u32 tile_rows, u32 tile_batch) {
    seed = s.rows * 37 + s.cols + bits;
    const Weight w(s, bits, scale_type, zero_kind);
    const u32 blocks = (s.cols + s.block - 1) / s.block, block_words = (s.block + 3) / 4;
    Words x_words(size_t(s.batch) * blocks * block_words), x_scales(size_t(s.batch) * blocks), x_sums(size_t(s.batch) * blocks);
    // What is behind the last column of a block's room is nobody's.
    std::memset(x_words.at, 0x5a, x_words.count * 4);
    std::vector<int> x;
    for (u32 b = 0; b < s.batch; b++) {
        for (u32 k = 0; k < s.cols; k++) {
            const int code = int(uniform() * 255) - 127;
            const size_t at = size_t(b) * blocks + k / s.block;
            reinterpret_cast<int8_t*>(x_words.at + at * block_words)[k % s.block] = int8_t(code);
            x_sums.at[at] += u32(code);
            x.push_back(code);
        }
    }
    for (u32 i = 0; i < s.batch * blocks; i++) x_scales.at[i] = std::bit_cast<u32>(float(0.005 + 0.01 * uniform()));
    const double size = 0.02 * std::fmax(1.0, (1 << bits) / 3.0) * std::sqrt(s.cols);
    const Bias bias(s, size);
    std::vector<double> expected;
    for (u32 b = 0; b < s.batch; b++) {
        for (u32 row = 0; row < s.rows; row++) {
            double sum = 0;
            for (u32 block = 0; block < blocks; block++) {
                int64_t dot = 0;
                for (u32 k = block * s.block; k < std::min(s.cols, (block + 1) * s.block); k++) {
                    dot += int64_t(w.steps(s, row, k)) * x[size_t(b) * s.cols + k];
                }
                const float scale = float(w.scales[row * w.groups_per_row + block * s.block / s.group]) *
                                    std::bit_cast<float>(x_scales.at[b * blocks + block]);
                sum += blocks == 1 ? double(float(dot) * scale) : double(dot) * scale;
            }
            expected.push_back(blocks == 1 ? double(float(sum) + bias.of(row)) : sum + bias.of(row));
        }
    }
    const double tolerance = blocks == 1 ? 0.0 : 8 * 1.2e-7 * std::sqrt(s.cols / 16 + 1) * size;
    const Int8 p{s.batch, s.rows, s.cols, s.group, w.groups_per_row, w.words_per_row, s.block, 0, 0, bias.given};
    const Variant v{0, 0, scale_type, 3, zero_kind, 0, 0, 0, {bits, s.batch == 1 ? 1u : 8u, 0, 0}};
    run(name, described(s, bits, scale_type, zero_kind), s, p, v,
        {&x_words, &x_scales, &x_sums, &w.code_words, &w.scale_words, &w.zero_words, &bias.words}, tile_rows, tile_batch, expected,
        tolerance);
}

void denses(bool all) {
    struct Tile { u32 x, rows, batch; };
    for (Tile tile : {Tile{F16, 64, 32}, Tile{F16, 128, 64}, Tile{F32, 64, 32}}) {
        const std::string name = std::string("matmul_f16_") + type_name(tile.x) + "_" + std::to_string(tile.rows) + "x" + std::to_string(tile.batch);
        if (!emulation::find(name.c_str())) continue;
        dense(name, {tile.batch + 1, tile.rows + 1, 200, 0, 0}, tile.x, tile.rows, tile.batch);
        if (!all) continue;
        dense(name, {1, 1, 8, 0, 0}, tile.x, tile.rows, tile.batch);
        dense(name, {tile.batch - 1, tile.rows - 1, 64, 0, 0}, tile.x, tile.rows, tile.batch);
        dense(name, {2 * tile.batch, 67, 712, 0, 0}, tile.x, tile.rows, tile.batch);
    }
}

void int8s(bool all) {
    for (u32 bits : {2, 3, 4, 8}) {
        for (u32 rows : {32, 64}) {
            const std::string name = "matvec_group_int8_" + std::to_string(bits) + "_" + std::to_string(rows);
            if (!emulation::find(name.c_str())) continue;
            int8(name, {1, 1, 128, 128, 128}, bits, F16, BYTE, rows, 8);
            int8(name, {8, rows + 1, 1280, 128, 128}, bits, F16, BYTE, rows, 8);
            int8(name, {3, rows - 1, 1408, 1408, 1408}, bits, F32, MIDDLE, rows, 8);
            if (!all) continue;
            int8(name, {7, 2 * rows, 1536, 768, 256}, bits, BF16, BYTE, rows, 8);
            int8(name, {2, 5, bits == 3 ? 1408u : 1344u, 128, 128}, bits, F16, BYTE, rows, 8);
            int8(name, {2, 5, bits == 3 ? 384u : 320u, 512, 512}, bits, F16, BYTE, rows, 8);
        }
        struct Tile { u32 rows, batch; };
        for (Tile tile : {Tile{64, 16}, Tile{32, 16}, Tile{64, 32}, Tile{64, 64}, Tile{128, 128}}) {
            const std::string name = "matmul_group_int8_" + std::to_string(bits) + "_" + std::to_string(tile.rows) + "x" + std::to_string(tile.batch);
            if (!emulation::find(name.c_str())) continue;
            const bool whole = tile.batch == 16;
            int8(name, {whole ? 15 : tile.batch + 1, tile.rows + 1, 256, 128, 128}, bits, F16, BYTE, tile.rows, tile.batch);
            int8(name, {9, 67, 448, 448, 448}, bits, F16, BYTE, tile.rows, tile.batch);
            if (!whole) int8(name, {9, 67, 320, 32, 32}, bits, F16, BYTE, tile.rows, tile.batch);
            if (!all) continue;
            if (!whole) int8(name, {13, 31, 448, 192, 96}, bits, F32, MIDDLE, tile.rows, tile.batch);
            if (!whole) int8(name, {13, 31, 384, 128, 64}, bits, BF16, BYTE, tile.rows, tile.batch);
            int8(name, {1, 1, 64, 64, 64}, bits, F16, MIDDLE, tile.rows, tile.batch);
            int8(name, {whole ? 16 : 2 * tile.batch, 3 * tile.rows, 256, 256, 128}, bits, F16, BYTE, tile.rows, tile.batch);
        }
    }
}

void groups(bool all) {
    for (u32 bits : {2, 3, 4, 8}) {
        for (u32 x : {F16, F32}) {
            // Up to 8 rows of x.
            for (u32 rows : {32, 64}) {
                if (bits == 8 && rows == 64) continue;
                const std::string name = "matvec_group_" + std::to_string(bits) + "_" + type_name(x) + "_" + std::to_string(rows);
                if (!emulation::find(name.c_str())) continue;
                group(name, {1, 1, 128, 128, 0}, bits, x, F16, BYTE, rows, 8);
                group(name, {8, rows + 1, 1280, 128, 0}, bits, x, F16, BYTE, rows, 8);
                if (!all) continue;
                group(name, {3, rows - 1, 1152, 384, 0}, bits, x, F32, MIDDLE, rows, 8);
                group(name, {7, 2 * rows, 640, 640, 0}, bits, x, BF16, BYTE, rows, 8);
                // The last 128 columns are not full.
                group(name, {2, 5, bits == 3 ? 1408u : 1344u, 128, 0}, bits, x, F16, BYTE, rows, 8);
            }
            if (bits == 3) continue;
            struct Tile { u32 rows, batch; };
            std::vector<Tile> tiles{{64, 16}, {64, 32}, {64, 64}, {32, 16}, {128, 64}, {128, 128}};
            for (Tile tile : tiles) {
                const std::string size = std::to_string(tile.rows) + "x" + std::to_string(tile.batch);
                const std::string name = "matmul_group_" + std::to_string(bits) + "_" + type_name(x) + "_" + size;
                if (!emulation::find(name.c_str())) continue;
                const bool whole = x == F16 && tile.batch == 16;
                group(name, {whole ? 15 : tile.batch + 1, tile.rows + 1, 256, 128, 0}, bits, x, F16, BYTE, tile.rows, tile.batch);
                if (!whole) group(name, {9, 67, 320, 32, 0}, bits, x, F16, BYTE, tile.rows, tile.batch);
                if (!all) continue;
                if (!whole) group(name, {13, 31, 448, 64, 0}, bits, x, F32, MIDDLE, tile.rows, tile.batch);
                if (!whole) group(name, {13, 31, 384, 96, 0}, bits, x, F16, BYTE, tile.rows, tile.batch);
                group(name, {tile.batch - 1, tile.rows - 1, 384, 384, 0}, bits, x, BF16, BYTE, tile.rows, tile.batch);
                group(name, {1, 1, 64, 64, 0}, bits, x, F16, MIDDLE, tile.rows, tile.batch);
                group(name, {whole ? 16 : 2 * tile.batch, 3 * tile.rows, 192, 192, 0}, bits, x, F16, BYTE, tile.rows, tile.batch);
            }
        }
    }
}

// Entries for compute capability 9.x.
void hoppers(bool all) {
    for (u32 bits : {2, 4, 8}) {
        for (u32 batch : {64, 128}) {
            const u32 rows = 128;
            const std::string name = "matmul_group_hopper_" + std::to_string(bits) + "_128x" + std::to_string(batch);
            if (!emulation::find(name.c_str())) continue;
            group(name, {batch + 1, rows + 1, 256, 128, 0}, bits, F16, F16, BYTE, rows, batch);
            // Every stage is used three times; x ends before its last columns do.
            group(name, {9, 67, bits == 2 ? 1144u : 1056u, 64, 0}, bits, F16, F16, BYTE, rows, batch);
            if (!all) continue;
            group(name, {13, 31, 448, 192, 0}, bits, F16, F32, MIDDLE, rows, batch);
            group(name, {batch - 1, rows - 1, 704, 704, 0}, bits, F16, BF16, BYTE, rows, batch);
            group(name, {1, 1, 64, 64, 0}, bits, F16, F16, MIDDLE, rows, batch);
            group(name, {2 * batch, 3 * rows, 192, 192, 0}, bits, F16, F16, BYTE, rows, batch);
        }
    }
}

// Fails for each entry that the tables of a file name and that was not tried.
void complete(const char* path) {
    std::ifstream file(path);
    const std::string start = "    (\"";
    size_t named = 0;
    for (std::string line; std::getline(file, line);) {
        if (line.compare(0, start.size(), start) != 0) continue;
        const std::string name = line.substr(start.size(), line.find('"', start.size()) - start.size());
        named++;
        if (tried.count(name) > 0) continue;
        std::printf("%s was not tried\n", name.c_str());
        failures++;
    }
    if (named == 0) throw std::runtime_error(std::string(path) + " names no entry");
}

} // namespace

int main(int count, char** arguments) {
    const bool all = count < 2 || std::string(arguments[1]) != "few";
    try {
        groups(all);
        int8s(all);
        denses(all);
        hoppers(all);
        if (all) {
            complete("src/kernel/tensor_core.rs");
            complete("src/kernel/hopper.rs");
        }
    } catch (const std::runtime_error& error) {
        std::printf("%s\n", error.what());
        return 2;
    }
    std::printf("%d cases, %d wrong\n", cases, failures);
    return failures > 0;
}
