// Runs the blocks of a launch one by one, the threads of each as fibers or, with EMULATION_THREADS, as threads of the
// system. A thread that never waits runs to its end on a fiber that then takes the next thread, so that kernels without
// barriers are plain loops.
#include "emulation.hpp"

#include <cstdio>
#include <deque>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#ifdef EMULATION_THREADS
#include <barrier>
#include <thread>
#else
#include "fiber.hpp"
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) (static_cast<void>(at), static_cast<void>(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) (static_cast<void>(at), static_cast<void>(bytes))
#endif

namespace emulation {
namespace {

// As f32 3.4e38, as f16 not a number, as int8 127: what enters a sum or a maximum does not leave it.
constexpr int GARBAGE = 0x7f;
constexpr unsigned WARP = 32;
// Shared memory that every device has without being asked, and what an sm_80 gives at most.
constexpr std::size_t MOST_DECLARED = 48 * 1024, MOST_SHARED = 163 * 1024;
// Nothing may lie between two arrays for the address sanitizer to see that one ends.
constexpr std::size_t REDZONE = 32;
// Where the memory that a launch asks for begins: behind all that may be declared, and what lies between.
constexpr std::size_t DYNAMIC = MOST_DECLARED + 64 * REDZONE;

struct Copy {
    void* to;
    const void* from;
    bool inside;
};

struct Thread {
    Place place;
    Site waits{};
    unsigned exchanges = 0;
    std::vector<Copy> copies;
    std::deque<std::vector<Copy>> groups;
#ifndef EMULATION_THREADS
    Fiber* fiber = nullptr;
#endif
};

struct Warp {
    // What the lanes show, for two operations in turn: a lane that shows the next one has read the last but one.
    Shown shown[2][WARP];
    std::vector<Thread*> waiting;
#ifdef EMULATION_THREADS
    std::barrier<> barrier{WARP};
#endif
};

struct Declaration {
    const void* which;
    std::size_t offset, bytes;
};

std::string name_of(Site site) { return std::string(site.file) + ":" + std::to_string(site.line); }

class Launch;
thread_local Launch* current = nullptr;
thread_local Thread* self = nullptr;

class Launch {
public:
    Launch(const Entry& entry, Index grid, Index block, std::size_t dynamic, void** arguments)
        : entry(entry), grid(grid), size(block), arguments(arguments), dynamic(dynamic), threads(block.x),
          warps((block.x + WARP - 1) / WARP), memory(DYNAMIC + MOST_SHARED + 256) {
        const auto at = reinterpret_cast<std::uintptr_t>(memory.data());
        arena = memory.data() + (128 - at % 128) % 128;
        ASAN_POISON_MEMORY_REGION(arena, DYNAMIC + MOST_SHARED);
        ASAN_UNPOISON_MEMORY_REGION(arena + DYNAMIC, dynamic);
    }
    ~Launch() { ASAN_UNPOISON_MEMORY_REGION(memory.data(), memory.size()); }
    Launch(const Launch&) = delete;
    Launch& operator=(const Launch&) = delete;

    void run();

    void* shared(const void* which, std::size_t bytes) {
        const std::lock_guard lock(declaring);
        for (const Declaration& d : declared)
            if (d.which == which) return arena + d.offset;
        const std::size_t offset = end;
        end += (bytes + 15) / 16 * 16 + REDZONE;
        taken += bytes;
        if (taken > MOST_DECLARED) throw std::runtime_error("more than 48 KiB of shared memory are declared");
        if (end > DYNAMIC) throw std::runtime_error("the emulation has no room for so many shared arrays");
        declared.push_back({which, offset, bytes});
        ASAN_UNPOISON_MEMORY_REGION(arena + offset, bytes);
        std::memset(arena + offset, GARBAGE, bytes);
        return arena + offset;
    }
    unsigned char* shared_dynamic() { return arena + DYNAMIC; }

    void block_barrier(Site site);
    const Shown* warp_exchange(const void* bytes, std::size_t count, Site site);

private:
    void begin_block(Index block) {
        for (const Declaration& d : declared) std::memset(arena + d.offset, GARBAGE, d.bytes);
        std::memset(arena + DYNAMIC, GARBAGE, dynamic);
        for (unsigned i = 0; i < threads.size(); i++) {
            threads[i].place = {{i, 0, 0}, block, size, grid};
            threads[i].exchanges = 0;
            threads[i].copies.clear();
            threads[i].groups.clear();
        }
    }
    template <class Body> void each_block(Body body) {
        for (unsigned z = 0; z < grid.z; z++)
            for (unsigned y = 0; y < grid.y; y++)
                for (unsigned x = 0; x < grid.x; x++) body(Index{x, y, z});
    }

    const Entry& entry;
    const Index grid, size;
    void** const arguments;
    const std::size_t dynamic;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::vector<unsigned char> memory;
    unsigned char* arena;
    std::mutex declaring;
    std::vector<Declaration> declared;
    std::size_t end = 0, taken = 0;

#ifdef EMULATION_THREADS
    std::unique_ptr<std::barrier<>> barrier;
#else
    friend void run_threads();
    void run_block();
    [[noreturn]] void report_waiting() const;

    std::deque<Thread*> ready;
    std::vector<Thread*> at_barrier;
    unsigned started = 0, finished = 0;
    std::string failure;
#endif
};

#ifdef EMULATION_THREADS

void Launch::run() {
    barrier = std::make_unique<std::barrier<>>(static_cast<std::ptrdiff_t>(threads.size()));
    std::vector<std::thread> all;
    for (Thread& thread : threads)
        all.emplace_back([&] {
            current = this;
            self = &thread;
            each_block([&](Index block) {
                barrier->arrive_and_wait();
                if (&thread == &threads[0]) begin_block(block);
                barrier->arrive_and_wait();
                entry.call(arguments);
            });
        });
    for (std::thread& thread : all) thread.join();
}

void Launch::block_barrier(Site) { barrier->arrive_and_wait(); }

const Shown* Launch::warp_exchange(const void* bytes, std::size_t count, Site) {
    Warp& warp = warps[self->place.thread.x / WARP];
    Shown* shown = warp.shown[self->exchanges++ % 2];
    if (count > 0) std::memcpy(shown[lane()].bytes, bytes, count);
    warp.barrier.arrive_and_wait();
    return shown;
}

#else

// Fibers are kept from launch to launch; those in `idle` have no thread.
struct Pool {
    std::vector<std::unique_ptr<Fiber>> fibers;
    std::vector<Fiber*> idle;
};
thread_local Pool pool;

// What a fiber does: it runs threads until one of them waits, or all have started.
void run_threads() {
    for (;;) {
        Fiber* own = self->fiber;
        try {
            current->entry.call(current->arguments);
        } catch (const std::exception& error) {
            current->failure = error.what();
        }
        current->finished++;
        if (current->failure.empty() && current->started < current->threads.size()) {
            self = &current->threads[current->started++];
            self->fiber = own;
        } else {
            pool.idle.push_back(own);
            own->leave();
        }
    }
}

void Launch::run() {
    current = this;
    each_block([&](Index block) {
        begin_block(block);
        run_block();
    });
}

void Launch::run_block() {
    started = finished = 0;
    while (finished < threads.size()) {
        // Those that can go on come first: a warp runs as far ahead of the others as it may.
        if (!ready.empty()) {
            self = ready.front();
            ready.pop_front();
        } else if (started < threads.size()) {
            if (pool.idle.empty()) {
                pool.fibers.push_back(std::make_unique<Fiber>(run_threads));
                pool.idle.push_back(pool.fibers.back().get());
            }
            self = &threads[started++];
            self->fiber = pool.idle.back();
            pool.idle.pop_back();
        } else {
            report_waiting();
        }
        self->fiber->enter();
        if (!failure.empty()) throw std::runtime_error(failure);
    }
}

void Launch::block_barrier(Site site) {
    self->waits = site;
    at_barrier.push_back(self);
    if (at_barrier.size() < threads.size()) return self->fiber->leave();
    for (Thread* thread : at_barrier)
        if (!(thread->waits == site))
            throw std::runtime_error("threads of a block wait at " + name_of(site) + " and at " + name_of(thread->waits));
    at_barrier.pop_back();
    ready.insert(ready.end(), at_barrier.begin(), at_barrier.end());
    at_barrier.clear();
}

const Shown* Launch::warp_exchange(const void* bytes, std::size_t count, Site site) {
    Warp& warp = warps[self->place.thread.x / WARP];
    Shown* shown = warp.shown[self->exchanges++ % 2];
    if (count > 0) std::memcpy(shown[lane()].bytes, bytes, count);
    self->waits = site;
    warp.waiting.push_back(self);
    if (warp.waiting.size() < WARP) {
        self->fiber->leave();
        return shown;
    }
    for (Thread* thread : warp.waiting)
        if (!(thread->waits == site))
            throw std::runtime_error("lanes of a warp wait at " + name_of(site) + " and at " + name_of(thread->waits));
    warp.waiting.pop_back();
    ready.insert(ready.end(), warp.waiting.begin(), warp.waiting.end());
    warp.waiting.clear();
    return shown;
}

void Launch::report_waiting() const {
    std::string message = std::to_string(finished) + " of " + std::to_string(threads.size()) + " threads have ended, while";
    const auto tell = [&](const std::vector<Thread*>& waiting, const char* what) {
        if (!waiting.empty())
            message += " " + std::to_string(waiting.size()) + " wait for their " + what + " at " + name_of(waiting[0]->waits);
    };
    tell(at_barrier, "block");
    for (const Warp& warp : warps) tell(warp.waiting, "warp");
    throw std::runtime_error(message);
}

#endif

std::vector<const Entry*>& entries() {
    static std::vector<const Entry*> all;
    return all;
}

} // namespace

Place& place() { return self->place; }
void* shared(const void* declaration, std::size_t bytes) { return current->shared(declaration, bytes); }
unsigned char* shared_dynamic() { return current->shared_dynamic(); }
void block_barrier(Site site) { current->block_barrier(site); }

const Shown* warp_exchange(uint32_t mask, const void* bytes, std::size_t count, Site site) {
    if (mask != ~0u) throw std::runtime_error("not all lanes are named at " + name_of(site));
    if (self->place.block_size.x % WARP != 0) throw std::runtime_error("a block is not whole warps at " + name_of(site));
    return current->warp_exchange(bytes, count, site);
}

void copy16(void* shared, const void* global, bool inside) {
    if (reinterpret_cast<std::uintptr_t>(shared) % 16 != 0 || (inside && reinterpret_cast<std::uintptr_t>(global) % 16 != 0))
        throw std::runtime_error("a copy of 16 bytes is not aligned");
    std::memset(shared, GARBAGE, 16);
    self->copies.push_back({shared, global, inside});
}

void copy_commit() {
    self->groups.push_back(std::move(self->copies));
    self->copies.clear();
}

void copy_wait(std::size_t pending) {
    while (self->groups.size() > pending) {
        for (const Copy& copy : self->groups.front()) {
            if (copy.inside) std::memcpy(copy.to, copy.from, 16);
            else std::memset(copy.to, 0, 16);
        }
        self->groups.pop_front();
    }
}

Entry::Entry(const char* name, Call call, unsigned most_threads) : name(name), call(call), most_threads(most_threads) {
    entries().push_back(this);
}

const Entry* find(const char* name) {
    for (const Entry* entry : entries())
        if (std::strcmp(entry->name, name) == 0) return entry;
    return nullptr;
}

void launch(const Entry& entry, Index grid, Index block, std::size_t shared_bytes, void** arguments) {
    const auto refuse = [&](const char* what) { throw std::runtime_error(std::string(entry.name) + ": " + what); };
    if (block.y != 1 || block.z != 1) refuse("blocks have one axis here");
    if (block.x == 0 || block.x > 1024) refuse("a block has 1 to 1024 threads");
    if (entry.most_threads != 0 && block.x > entry.most_threads) refuse("more threads than the launch bounds");
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) refuse("a grid of no blocks");
    if (grid.y > 65535 || grid.z > 65535) refuse("more than 65535 blocks along an axis");
    if (shared_bytes > MOST_SHARED) refuse("more shared memory than a device has");
    try {
        Launch(entry, grid, block, shared_bytes, arguments).run();
    } catch (const std::exception& error) {
#ifndef EMULATION_THREADS
        // Its fibers may still hold threads.
        pool = {};
#endif
        refuse(error.what());
    }
}

} // namespace emulation
