// A function with a stack of its own, which runs until it leaves and goes on where it left when it is entered again.
// To be included by one file, which then holds the switch.
#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <functional>
#include <new>
#include <utility>

#ifndef __x86_64__
#include <ucontext.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#ifdef __x86_64__
// Keeps the registers that a call keeps, and the stack, and takes up another's.
extern "C" void emulation_switch(void** keep, void* take);
asm(R"(
    .text
    .globl emulation_switch
    .hidden emulation_switch
    .type emulation_switch, @function
emulation_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulation_switch, .-emulation_switch
)");
#endif

class Fiber {
public:
    explicit Fiber(std::function<void()> body) : body(std::move(body)) {
        stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (stack == MAP_FAILED) throw std::bad_alloc();
        // A page that nobody may touch ends the stack.
        mprotect(stack, PAGE, PROT_NONE);
#ifdef __x86_64__
        // What the switch takes up: six registers, where to go on, and a place that keeps the stack aligned.
        void** top = reinterpret_cast<void**>(static_cast<char*>(stack) + STACK) - 8;
        for (int i = 0; i < 8; i++) top[i] = nullptr;
        top[6] = reinterpret_cast<void*>(&Fiber::start);
        inside = top;
#else
        getcontext(&inside);
        inside.uc_stack.ss_sp = stack;
        inside.uc_stack.ss_size = STACK;
        makecontext(&inside, &Fiber::start, 0);
#endif
    }
    ~Fiber() { munmap(stack, STACK); }
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    // Runs the body until it leaves.
    void enter() {
        entered = this;
#ifdef __SANITIZE_ADDRESS__
        void* kept;
        __sanitizer_start_switch_fiber(&kept, stack, STACK);
#endif
        change(outside, inside);
#ifdef __SANITIZE_ADDRESS__
        __sanitizer_finish_switch_fiber(kept, nullptr, nullptr);
#endif
    }

    // Goes back to where the fiber was entered.
    void leave() {
#ifdef __SANITIZE_ADDRESS__
        void* kept;
        __sanitizer_start_switch_fiber(&kept, outer_stack, outer_size);
#endif
        change(inside, outside);
#ifdef __SANITIZE_ADDRESS__
        __sanitizer_finish_switch_fiber(kept, &outer_stack, &outer_size);
#endif
    }

private:
    static constexpr std::size_t PAGE = 4096, STACK = 256 * 1024;
#ifdef __x86_64__
    using Context = void*;
    static void change(Context& keep, Context& take) { emulation_switch(&keep, take); }
#else
    using Context = ucontext_t;
    static void change(Context& keep, Context& take) { swapcontext(&keep, &take); }
#endif

    // Where a fiber starts, with the one that is entered.
    static void start() {
        Fiber* own = entered;
#ifdef __SANITIZE_ADDRESS__
        __sanitizer_finish_switch_fiber(nullptr, &own->outer_stack, &own->outer_size);
#endif
        own->body();
        std::abort();
    }

    static inline thread_local Fiber* entered = nullptr;
    std::function<void()> body;
    void* stack;
    Context inside{}, outside{};
    const void* outer_stack = nullptr;
    std::size_t outer_size = 0;
};
