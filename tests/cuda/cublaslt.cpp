// The functions of cuBLASLt that the device calls, over the host's memory, beside the emulated driver. What the real one
// refuses or takes for granted is checked here: types, leading dimensions, alignment, the workspace that was asked for.
//
// EMULATION in the environment makes it err, as it does the driver:
//   cublasLtMatmul=13@2   the function answers this status from its second call on
//   workspace=4096        bytes that every algorithm takes besides
#include "driver.hpp"

using namespace driver;

namespace {

enum Status { OK = 0, NOT_READY = 1, WRONG_VALUE = 7, NOT_SUPPORTED = 15 };

using Algorithm = std::uint64_t[8];

struct Found {
    Algorithm algorithm;
    std::size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

struct Object {
    enum Kind { HANDLE, DESCRIPTION, LAYOUT, PREFERENCE } kind;
    unsigned compute = 0, type = 0;
    std::uint64_t rows = 0, cols = 0;
    std::int64_t column = 0;
    std::map<unsigned, std::uint64_t> attributes = {};
};

std::recursive_mutex mutex;
Plan plan;
std::map<void*, Object> objects;
std::map<std::string, long> calls;

template <class Do> int answer(const char* name, Do act) {
    const std::lock_guard lock(mutex);
    calls[name]++;
    if (const int planned = plan.answer(name); planned != 0) return planned;
    return act();
}

const Object* find(void* object, Object::Kind kind) {
    const auto found = objects.find(object);
    return found != objects.end() && found->second.kind == kind ? &found->second : nullptr;
}

int make(void** object, const Object& made) {
    objects[*object = handle()] = made;
    return OK;
}

int destroy(void* object, Object::Kind kind) {
    if (find(object, kind) == nullptr) return WRONG_VALUE;
    forget(objects, object);
    return OK;
}

int set(void* object, Object::Kind kind, unsigned which, const void* value, std::size_t bytes, std::size_t wanted) {
    if (find(object, kind) == nullptr || bytes != wanted) return WRONG_VALUE;
    std::uint64_t number = 0;
    std::memcpy(&number, value, bytes);
    objects[object].attributes[which] = number;
    return OK;
}

std::uint64_t attribute(const Object& object, unsigned which, std::uint64_t usual) {
    const auto found = object.attributes.find(which);
    return found == object.attributes.end() ? usual : found->second;
}

// An element in f32 or f16.
float element(const void* memory, unsigned type, std::uint64_t i) {
    if (type == 0) return static_cast<const float*>(memory)[i];
    const std::uint32_t bits = static_cast<const std::uint16_t*>(memory)[i];
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const float size = exponent == 0    ? std::ldexp(float(fraction), -24)
                       : exponent == 31 ? (fraction == 0 ? INFINITY : NAN)
                                        : std::ldexp(float(1024 + fraction), exponent - 25);
    return bits >> 15 != 0 ? -size : size;
}

// The shape of a product, or false for what does not fit.
bool fits(const Object& d, const Object& a, const Object& b, const Object& c, std::uint64_t& terms) {
    const bool a_turned = attribute(d, 3, 0) == 1, b_turned = attribute(d, 4, 0) == 1;
    terms = a_turned ? a.rows : a.cols;
    for (const Object* layout : {&a, &b, &c})
        if (layout->column < std::int64_t(layout->rows)) return false;
    return (a_turned ? a.cols : a.rows) == c.rows && (b_turned ? b.cols : b.rows) == terms &&
           (b_turned ? b.rows : b.cols) == c.cols && terms > 0 && c.rows > 0 && c.cols > 0;
}

} // namespace

extern "C" {

int cublasLtCreate(void** made) {
    return answer("cublasLtCreate", [&] { return make(made, {Object::HANDLE}); });
}
int cublasLtDestroy(void* object) {
    return answer("cublasLtDestroy", [&] { return destroy(object, Object::HANDLE); });
}

int cublasLtMatmulDescCreate(void** made, unsigned compute, unsigned scale) {
    return answer("cublasLtMatmulDescCreate", [&] {
        // Of all types of computing only the one that keeps f32 as it is.
        if (compute != 68 || scale != 0) return int(NOT_SUPPORTED);
        return make(made, {Object::DESCRIPTION, compute});
    });
}
int cublasLtMatmulDescDestroy(void* object) {
    return answer("cublasLtMatmulDescDestroy", [&] { return destroy(object, Object::DESCRIPTION); });
}
int cublasLtMatmulDescSetAttribute(void* object, unsigned which, const void* value, std::size_t bytes) {
    return answer("cublasLtMatmulDescSetAttribute", [&] {
        if (which != 3 && which != 4) return int(NOT_SUPPORTED);
        return set(object, Object::DESCRIPTION, which, value, bytes, 4);
    });
}

int cublasLtMatrixLayoutCreate(void** made, unsigned type, std::uint64_t rows, std::uint64_t cols, std::int64_t column) {
    return answer("cublasLtMatrixLayoutCreate", [&] {
        if (type != 0 && type != 2) return int(NOT_SUPPORTED);
        return make(made, {Object::LAYOUT, 0, type, rows, cols, column});
    });
}
int cublasLtMatrixLayoutDestroy(void* object) {
    return answer("cublasLtMatrixLayoutDestroy", [&] { return destroy(object, Object::LAYOUT); });
}

int cublasLtMatmulPreferenceCreate(void** made) {
    return answer("cublasLtMatmulPreferenceCreate", [&] { return make(made, {Object::PREFERENCE}); });
}
int cublasLtMatmulPreferenceDestroy(void* object) {
    return answer("cublasLtMatmulPreferenceDestroy", [&] { return destroy(object, Object::PREFERENCE); });
}
int cublasLtMatmulPreferenceSetAttribute(void* object, unsigned which, const void* value, std::size_t bytes) {
    return answer("cublasLtMatmulPreferenceSetAttribute", [&] {
        return set(object, Object::PREFERENCE, which, value, bytes, which == 1 || which == 12 ? 8 : 4);
    });
}

int cublasLtMatmulAlgoGetHeuristic(void* library, void* description, void* a, void* b, void* c, void* d, void* preference,
                                   int wanted, Found* found, int* count) {
    return answer("cublasLtMatmulAlgoGetHeuristic", [&] {
        const Object *of = find(description, Object::DESCRIPTION), *for_a = find(a, Object::LAYOUT),
                     *for_b = find(b, Object::LAYOUT), *for_c = find(c, Object::LAYOUT),
                     *prefer = find(preference, Object::PREFERENCE);
        const bool there = of != nullptr && for_a != nullptr && for_b != nullptr && for_c != nullptr && prefer != nullptr;
        if (!there || find(library, Object::HANDLE) == nullptr || c != d || wanted < 1) return int(WRONG_VALUE);
        std::uint64_t terms = 0;
        *count = 0;
        if (for_a->type != for_b->type || for_c->type != 0 || !fits(*of, *for_a, *for_b, *for_c, terms))
            return int(NOT_SUPPORTED);
        const std::size_t workspace = plan.number("workspace", 0);
        if (workspace > attribute(*prefer, 1, 0)) return int(NOT_SUPPORTED);
        // Partial sums in another type, or in the place of the result, were not to be chosen.
        if (attribute(*prefer, 3, 7) != 2) return int(NOT_SUPPORTED);
        // Nor were sums in f16, or f32 as anything less: TF32, bf16 or f16.
        const std::uint64_t less = 1 << 8 | 4 << 16 | (for_a->type == 0 ? 3 << 16 : 0);
        if ((attribute(*prefer, 12, ~0ull) & less) != 0) return int(NOT_SUPPORTED);
        *found = {};
        for (unsigned i = 0; i < 4; i++) found->algorithm[i] = attribute(*prefer, 5 + i, 256);
        found->algorithm[4] = workspace;
        found->workspace = workspace;
        *count = 1;
        return int(OK);
    });
}

int cublasLtMatmul(void* library, void* description, const float* alpha, const void* a, void* a_layout, const void* b,
                   void* b_layout, const float* beta, const void* c, void* c_layout, float* d, void* d_layout,
                   const Algorithm* algorithm, void* workspace, std::size_t bytes, void* stream) {
    return answer("cublasLtMatmul", [&] {
        const Object *of = find(description, Object::DESCRIPTION), *for_a = find(a_layout, Object::LAYOUT),
                     *for_b = find(b_layout, Object::LAYOUT), *for_c = find(c_layout, Object::LAYOUT);
        if (find(library, Object::HANDLE) == nullptr || of == nullptr || stream == nullptr) return int(NOT_READY);
        std::uint64_t terms = 0;
        if (for_a == nullptr || for_b == nullptr || for_c == nullptr || c != d || c_layout != d_layout ||
            !fits(*of, *for_a, *for_b, *for_c, terms))
            return int(WRONG_VALUE);
        const auto address = [](const void* memory) { return reinterpret_cast<std::uintptr_t>(memory); };
        const Algorithm& chosen = *algorithm;
        if (address(a) % chosen[0] != 0 || address(b) % chosen[1] != 0 || address(d) % chosen[3] != 0) return int(WRONG_VALUE);
        if (bytes < chosen[4] || (chosen[4] > 0 && (workspace == nullptr || address(workspace) % 256 != 0)))
            return int(WRONG_VALUE);
        if (chosen[4] > 0) std::memset(workspace, 0x7f, chosen[4]);
        const bool a_turned = attribute(*of, 3, 0) == 1, b_turned = attribute(*of, 4, 0) == 1;
        for (std::uint64_t col = 0; col < for_c->cols; col++) {
            for (std::uint64_t row = 0; row < for_c->rows; row++) {
                float sum = 0;
                for (std::uint64_t k = 0; k < terms; k++) {
                    const auto in_a = a_turned ? k + row * for_a->column : row + k * for_a->column;
                    const auto in_b = b_turned ? col + k * for_b->column : k + col * for_b->column;
                    sum += element(a, for_a->type, in_a) * element(b, for_b->type, in_b);
                }
                float& to = d[row + col * for_c->column];
                // Nothing is read where nothing is added: what is there may be no number.
                to = *beta == 0 ? *alpha * sum : *alpha * sum + *beta * to;
            }
        }
        return int(OK);
    });
}

// Of the emulation alone: how often a function was called, and what was made and not destroyed.
long cublasltCalls(const char* function) {
    const std::lock_guard lock(mutex);
    return calls[function];
}
long cublasltObjects() {
    const std::lock_guard lock(mutex);
    return static_cast<long>(objects.size());
}

} // extern "C"
