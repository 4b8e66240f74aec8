// What the functions of the emulated driver share: what is asked of it, and what it holds.
#pragma once
#include "emulation.hpp"

#include <chrono>
#include <cstdio>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>

namespace driver {

using Pointer = unsigned long long;
using Clock = std::chrono::steady_clock;

enum Code {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    NO_BINARY = 209,
    INVALID_PTX = 218,
    NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700,
    LAUNCH_FAILED = 719,
};

// What EMULATION says.
class Plan {
public:
    Plan() {
        const char* words = std::getenv("EMULATION");
        std::string word;
        for (const char* at = words == nullptr ? "" : words;; at++) {
            if (*at != ' ' && *at != '\0') {
                word += *at;
                continue;
            }
            take(word);
            word.clear();
            if (*at == '\0') break;
        }
    }
    long number(const std::string& name, long usual) const {
        const auto found = rules.find(name);
        return found == rules.end() ? usual : found->second.value;
    }
    // The code that a call of a function is to answer.
    int answer(const std::string& function) {
        const auto found = rules.find(function);
        if (found == rules.end() || ++found->second.calls < found->second.from) return SUCCESS;
        return static_cast<int>(found->second.value);
    }

private:
    struct Rule {
        long value, from, calls;
    };
    void take(const std::string& word) {
        const auto equals = word.find('='), at = word.find('@');
        if (equals == std::string::npos) return;
        const long from = at == std::string::npos ? 1 : std::stol(word.substr(at + 1));
        rules[word.substr(0, equals)] = {std::stol(word.substr(equals + 1)), from, 0};
    }
    std::map<std::string, Rule> rules;
};

// A context and all that is in it.
struct State {
    std::recursive_mutex mutex;
    Plan plan;
    bool initialized = false;
    unsigned retained = 0;
    // An error of a kernel, after which nothing else is answered.
    int sticky = SUCCESS;
    // Bytes at each address that was given out.
    std::map<Pointer, std::size_t> memory;
    std::size_t taken = 0;
    std::map<void*, std::string> modules;
    std::set<void*> streams;
    std::map<void*, Clock::time_point> events;
    // How often each function was called.
    std::map<std::string, long> calls;
};

State& state();

// Whether a context answers nothing else after this code.
inline bool ends_context(int code) {
    return code == ILLEGAL_ADDRESS || code == 702 || code == 710 || (code >= 714 && code <= 719);
}

// The device whose context is current, or -1.
extern thread_local int current_context;

// What a handle points to is of no use but to be told from others.
inline void* handle() { return new char; }

template <class T> void forget(T& all, void* handle) {
    if (all.erase(handle) > 0) delete static_cast<char*>(handle);
}

// Answers a call: by the plan, by the error that came before, or by what it does.
template <class Do> int call(const char* name, bool in_context, Do act) {
    State& s = state();
    const std::lock_guard lock(s.mutex);
    s.calls[name]++;
    if (s.sticky != SUCCESS) return s.sticky;
    if (const int planned = s.plan.answer(name); planned != SUCCESS) {
        if (ends_context(planned)) s.sticky = planned;
        return planned;
    }
    if (std::string(name) != "cuInit" && !s.initialized) return NOT_INITIALIZED;
    if (in_context && (current_context < 0 || s.retained == 0)) return INVALID_CONTEXT;
    return act(s);
}

// Whether memory was given out there.
inline bool inside(const State& s, Pointer at, std::size_t bytes) {
    auto after = s.memory.upper_bound(at);
    if (after == s.memory.begin()) return false;
    --after;
    return at + bytes <= after->first + after->second;
}

inline void* host(Pointer at) { return reinterpret_cast<void*>(at); }

// Runs a kernel, without the lock: launches of several threads run side by side, as their memory is their own.
inline int run(const emulation::Entry& entry, emulation::Index grid, emulation::Index block, unsigned shared,
               void** arguments) {
    if (std::string(entry.name).find("_hopper") != std::string::npos && state().plan.number("idle_sm_90a", 0) != 0) return SUCCESS;
    try {
        emulation::launch(entry, grid, block, shared, arguments);
        return SUCCESS;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "emulated kernel: %s\n", error.what());
        return LAUNCH_FAILED;
    }
}

} // namespace driver
