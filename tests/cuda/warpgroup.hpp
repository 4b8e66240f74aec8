// Products that run beside the threads of a warp, for emulation.cpp: they are made when they are waited for, and check then
// that nothing has touched what they were given.
#pragma once
#include <cstdint>
#include <cstring>
#include <deque>
#include <limits>
#include <stdexcept>
#include <vector>

namespace emulation {

// Sums of a thread that products under way will change. The thread sees garbage meanwhile.
struct Flight {
    float* sums;
    std::vector<float> values;
    unsigned products;
};

class Flights {
public:
    void start(float* sums, unsigned count) {
        for (Flight& flight : all)
            if (flight.sums == sums) return static_cast<void>(flight.products++);
        all.push_back({sums, std::vector<float>(sums, sums + count), 1});
        for (unsigned i = 0; i < count; i++) sums[i] = GARBAGE;
    }
    // The values to be changed by the next product that ends.
    std::vector<float>& values(const float* sums) { return find(sums).values; }
    void end(float* sums) {
        Flight& flight = find(sums);
        if (--flight.products > 0) return;
        for (const float& value : flight.values) {
            float& seen = sums[&value - flight.values.data()];
            if (seen == seen) throw std::runtime_error("sums were written before their products were waited for");
            seen = value;
        }
        std::swap(flight, all.back());
        all.pop_back();
    }
    void clear() { all.clear(); }

private:
    static constexpr float GARBAGE = std::numeric_limits<float>::quiet_NaN();
    Flight& find(const float* sums) {
        for (Flight& flight : all)
            if (flight.sums == sums) return flight;
        throw std::runtime_error("a product ends that was not begun");
    }
    std::vector<Flight> all;
};

// What a lane gives to a product.
struct Given {
    float* sums;
    const uint32_t* a;
    uint64_t b;
    uint32_t columns, add;
};

// sums [16, columns] (+)= a [16, 16] b [columns, 16]^T of a warp, with the operands as they were when it began.
struct Product {
    std::vector<Given> given;
    std::vector<uint32_t> a_words;
    std::vector<uint16_t> b_halves;
    std::vector<float> a, b;
};

// Every f16 as f32.
inline const float* halves() {
    static const std::vector<float> all = [] {
        std::vector<float> all(1 << 16);
        for (unsigned i = 0; i < all.size(); i++) {
            const uint16_t bits = static_cast<uint16_t>(i);
            _Float16 half;
            std::memcpy(&half, &bits, 2);
            all[i] = static_cast<float>(half);
        }
        return all;
    }();
    return all.data();
}

// The products of a warp: open ones, and groups that were closed.
class Products {
public:
    // `b` holds the matrix by rows.
    void begin(std::vector<Given> given, std::vector<uint16_t> b) {
        Product product{std::move(given), {}, std::move(b), std::vector<float>(256), {}};
        for (unsigned lane = 0; lane < 32; lane++) {
            for (unsigned i = 0; i < 4; i++) {
                const uint32_t word = product.given[lane].a[i];
                product.a_words.push_back(word);
                float* const at = &product.a[(lane / 4 + i % 2 * 8) * 16 + lane % 4 * 2 + i / 2 * 8];
                at[0] = halves()[word & 0xffff];
                at[1] = halves()[word >> 16];
            }
        }
        for (uint16_t half : product.b_halves) product.b.push_back(halves()[half]);
        open.push_back(std::move(product));
    }
    void commit() {
        groups.push_back(std::move(open));
        open.clear();
    }
    // Those that a wait with so many groups pending ends, in order.
    template <class Act> void ended(std::size_t pending, Act act) {
        for (std::size_t i = 0; i + pending < groups.size(); i++)
            for (const Product& product : groups[i]) act(product);
    }
    void forget(std::size_t pending) {
        while (groups.size() > pending) groups.pop_front();
    }
    void clear() {
        open.clear();
        groups.clear();
    }

private:
    std::vector<Product> open;
    std::deque<std::vector<Product>> groups;
};

// Ends a product for one lane.
inline void end_product(const Product& product, unsigned lane, Flights& flights) {
    const Given& own = product.given[lane];
    if (std::memcmp(own.a, &product.a_words[4 * lane], 16) != 0)
        throw std::runtime_error("a product's operand in registers was changed before the product was waited for");
    std::vector<float>& values = flights.values(own.sums);
    for (unsigned i = 0; i < values.size(); i++) {
        const float* const a = &product.a[(lane / 4 + i / 2 % 2 * 8) * 16];
        const float* const b = &product.b[(i / 4 * 8 + lane % 4 * 2 + i % 2) * 16];
        float sum = 0;
        for (unsigned k = 0; k < 16; k++) sum += a[k] * b[k];
        values[i] = own.add ? values[i] + sum : sum;
    }
    flights.end(own.sums);
}

} // namespace emulation
