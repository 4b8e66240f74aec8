// Runs the blocks of a launch one by one, the threads of each as fibers or, with EMULATION_THREADS, as threads of the
// system. A thread that never waits runs to its end on a fiber that then takes the next thread, so that kernels without
// barriers are plain loops.
#include "emulation.hpp"

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "warpgroup.hpp"
#ifdef EMULATION_THREADS
#include <barrier>
#include <chrono>
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
// Where shared memory begins among its addresses: the memory that a launch asks for is aligned by 128 bytes and no more.
constexpr std::size_t FIRST_ADDRESS = 128;

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
    Flights flights;
    // Whether registers may be given to a product, and how often this thread's copies were shown to products.
    bool fenced = false;
    std::atomic<uint32_t> fences = 0;
#ifndef EMULATION_THREADS
    Fiber* fiber = nullptr;
#endif
};

struct Warp {
    // What the lanes show, for two operations in turn: a lane that shows the next one has read the last but one.
    Shown shown[2][WARP];
    std::vector<Thread*> waiting;
    Products products;
#ifdef EMULATION_THREADS
    std::barrier<> barrier{WARP};
#endif
};

// A barrier in shared memory.
struct Barrier {
    unsigned count, pending, phases = 0;
    std::vector<Thread*> waiting{};
#ifdef EMULATION_THREADS
    std::shared_ptr<std::condition_variable> met = std::make_shared<std::condition_variable>();
#endif
};

// Whose copy lies in 16 bytes of shared memory, plus 1, and how often that thread had shown its copies then.
struct Landed {
    uint32_t thread = 0, fences = 0;
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
          warps((block.x + WARP - 1) / WARP), memory(DYNAMIC + MOST_SHARED + 256), landed((DYNAMIC + MOST_SHARED) / 16) {
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
    // The bytes from an address in shared memory on.
    const unsigned char* at_address(std::size_t address, std::size_t bytes) const {
        const std::size_t offset = address - FIRST_ADDRESS;
        if (!is_shared(offset, bytes)) throw std::runtime_error("an address outside the block's shared memory");
        return arena + offset;
    }
    std::size_t offset_of(const void* at, std::size_t bytes) const {
        const auto offset = static_cast<std::size_t>(reinterpret_cast<std::uintptr_t>(at) - reinterpret_cast<std::uintptr_t>(arena));
        if (!is_shared(offset, bytes)) throw std::runtime_error("what must be shared memory is not");
        return offset;
    }
    void land(const Copy& copy);
    // Whether products see what lies there: a copy only after who made it has shown it to them.
    bool seen_by_products(const void* at) const {
        const Landed& copy = landed[offset_of(at, 16) / 16];
        return copy.thread == 0 || threads[copy.thread - 1].fences != copy.fences;
    }

    void barrier_init(const void* at, unsigned count) {
        const std::lock_guard lock(meeting);
        offset_of(at, 8);
        barriers[at] = {count, count};
    }
    void barrier_arrive(const void* at);
    void barrier_wait(const void* at, unsigned phase, Site site);
    std::vector<uint16_t> matrix(uint64_t b, unsigned rows) const;
    Warp& warp() { return warps[self->place.thread.x / WARP]; }

    void block_barrier(Site site);
    const Shown* warp_exchange(const void* bytes, std::size_t count, Site site);

private:
    bool is_shared(std::size_t offset, std::size_t bytes) const {
        return offset + bytes <= end || (offset >= DYNAMIC && offset + bytes <= DYNAMIC + dynamic);
    }
    Barrier& barrier_at(const void* at) {
        const auto found = barriers.find(at);
        if (found == barriers.end()) throw std::runtime_error("a barrier is used that was not made");
        return found->second;
    }
    void begin_block(Index block) {
        barriers.clear();
        if (copied) landed.assign(landed.size(), {});
        copied = false;
        for (Warp& warp : warps) warp.products.clear();
        for (const Declaration& d : declared) std::memset(arena + d.offset, GARBAGE, d.bytes);
        std::memset(arena + DYNAMIC, GARBAGE, dynamic);
        for (unsigned i = 0; i < threads.size(); i++) {
            threads[i].place = {{i, 0, 0}, block, size, grid};
            threads[i].exchanges = 0;
            threads[i].copies.clear();
            threads[i].groups.clear();
            threads[i].flights.clear();
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
    std::atomic<std::size_t> end = 0;
    std::size_t taken = 0;
    std::vector<Landed> landed;
    std::atomic<bool> copied = false;
    std::mutex meeting;
    std::map<const void*, Barrier> barriers;

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

void Launch::barrier_arrive(const void* at) {
    const std::lock_guard lock(meeting);
    Barrier& barrier = barrier_at(at);
    if (--barrier.pending > 0) return;
    barrier.pending = barrier.count;
    barrier.phases++;
    barrier.met->notify_all();
}

void Launch::barrier_wait(const void* at, unsigned phase, Site site) {
    std::unique_lock lock(meeting);
    const Barrier& barrier = barrier_at(at);
    const bool ended = barrier.met->wait_for(lock, std::chrono::minutes(2), [&] { return barrier.phases % 2 != phase; });
    if (!ended) throw std::runtime_error("nobody arrives at the barrier of " + name_of(site));
}

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

void Launch::barrier_arrive(const void* at) {
    Barrier& barrier = barrier_at(at);
    if (--barrier.pending > 0) return;
    barrier.pending = barrier.count;
    barrier.phases++;
    ready.insert(ready.end(), barrier.waiting.begin(), barrier.waiting.end());
    barrier.waiting.clear();
}

void Launch::barrier_wait(const void* at, unsigned phase, Site site) {
    Barrier& barrier = barrier_at(at);
    // Once a phase has ended, another may end before this thread's turn comes.
    while (barrier.phases % 2 == phase) {
        self->waits = site;
        barrier.waiting.push_back(self);
        self->fiber->leave();
    }
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
    for (const auto& [_, barrier] : barriers) tell(barrier.waiting, "barrier");
    throw std::runtime_error(message);
}

#endif

void Launch::land(const Copy& copy) {
    if (copy.inside) std::memcpy(copy.to, copy.from, 16);
    else std::memset(copy.to, 0, 16);
    copied = true;
    landed[offset_of(copy.to, 16) / 16] = {self->place.thread.x + 1, self->fences};
}

// The matrix of 16 columns that a descriptor names, by rows. Eight rows of 128 bytes make an atom, in which bits 7 to 9 of an
// address change its bits 4 to 6.
std::vector<uint16_t> Launch::matrix(uint64_t b, unsigned rows) const {
    const std::size_t start = (b & 0x3fff) << 4, stride = (b >> 32 & 0x3fff) << 4;
    if (b >> 62 != 1 || (b >> 49 & 7) != 0) throw std::runtime_error("only atoms of 128 bytes a row are emulated");
    std::vector<uint16_t> halves(std::size_t{16} * rows);
    for (unsigned row = 0; row < rows; row++) {
        for (unsigned unit = 0; unit < 2; unit++) {
            const std::size_t address = start + row / 8 * stride + row % 8 * 128 + unit * 16;
            const unsigned char* const from = at_address(address ^ (address >> 7 & 7) << 4, 16);
            if (!seen_by_products(from)) throw std::runtime_error("a product does not see a copy that was not shown to it");
            std::memcpy(&halves[16 * row + 8 * unit], from, 16);
        }
    }
    return halves;
}

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
    current->offset_of(shared, 16);
    std::memset(shared, GARBAGE, 16);
    self->copies.push_back({shared, global, inside});
}

void copy_commit() {
    self->groups.push_back(std::move(self->copies));
    self->copies.clear();
}

void copy_wait(std::size_t pending) {
    while (self->groups.size() > pending) {
        for (const Copy& copy : self->groups.front()) current->land(copy);
        self->groups.pop_front();
    }
}

uint32_t shared_address(const void* shared) {
    return static_cast<uint32_t>(FIRST_ADDRESS + current->offset_of(shared, 1));
}
void barrier_init(const void* barrier, unsigned count) { current->barrier_init(barrier, count); }
void barrier_arrive(const void* barrier) { current->barrier_arrive(barrier); }
void barrier_wait(const void* barrier, unsigned phase, Site site) { current->barrier_wait(barrier, phase, site); }
void fence_shared() { self->fences++; }

void warpgroup_multiply(float* sums, const uint32_t* a, unsigned columns, uint64_t b, bool add, Site site) {
    if (!self->fenced) throw std::runtime_error("products begin without a fence at " + name_of(site));
    const Given own = {sums, a, b, columns, add};
    const Shown* all = warp_exchange(~0u, &own, sizeof(own), site);
    if (lane() == 0) {
        std::vector<Given> given;
        for (unsigned i = 0; i < WARP; i++) given.push_back(shown<Given>(all[i]));
        for (const Given& other : given)
            if (other.b != b || other.columns != columns || other.add != own.add)
                throw std::runtime_error("lanes of a warp want different products at " + name_of(site));
        current->warp().products.begin(std::move(given), current->matrix(b, columns));
    }
    warp_exchange(~0u, nullptr, 0, site);
    self->flights.start(sums, columns / 2);
}
void multiply_fence() { self->fenced = true; }
void multiply_commit() {
    self->fenced = false;
    if (lane() == 0) current->warp().products.commit();
}
void multiply_wait(std::size_t pending, Site site) {
    warp_exchange(~0u, nullptr, 0, site);
    Products& products = current->warp().products;
    products.ended(pending, [&](const Product& product) {
        if (lane() == 0 && current->matrix(product.given[0].b, product.given[0].columns) != product.b_halves)
            throw std::runtime_error("a product's operand in shared memory was changed before the product was waited for");
        end_product(product, lane(), self->flights);
    });
    warp_exchange(~0u, nullptr, 0, site);
    if (lane() == 0) products.forget(pending);
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
