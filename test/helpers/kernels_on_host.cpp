// kernels.cu built for the host. The blocks of a launch run one after the other, each in shared memory that is poisoned
// and guarded; the threads of a block take turns: each runs until it ends or waits at a barrier.
#undef _FORTIFY_SOURCE  // its longjmp refuses to change stacks
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include <unordered_set>
#include <vector>

static const size_t SECTOR = 32;  // bytes that a GPU fetches at once
static bool counts_sectors = false;
static std::unordered_set<uintptr_t> sectors;  // of this block
static size_t all_sectors = 0;                 // of the blocks before
#define LOADED(from) \
    if (counts_sectors) sectors.insert((uintptr_t)(from) / SECTOR)

#include "on_host.h"

static Index blockIdx, threadIdx, blockDim, gridDim;
static void __syncthreads();
static bool __syncthreads_or(bool);

#include "kernels.cu"

static const size_t SHARED_LIMIT = 48 << 10, GUARD = 256, STACK = 64 << 10;
static const uint8_t POISON = 0xFF;  // as floats: NaN
Vector memory[(SHARED_LIMIT + GUARD) / sizeof(Vector)];

// With a stack of its own, on which it runs one block's kernel after the other. Threads change places with _longjmp, as
// swapcontext makes a system call each time.
struct Thread {
    jmp_buf place;
    bool begun = false, ended;
    std::vector<char> stack = std::vector<char>(STACK);
};

static std::vector<Thread> threads;
static Thread* running;
static jmp_buf scheduler;
static void (*start)();
static bool vote, verdict;  // of __syncthreads_or

static void to_scheduler() {
    if (!_setjmp(running->place)) _longjmp(scheduler, 1);
}

static bool __syncthreads_or(bool mine) {
    vote = vote || mine;
    to_scheduler();
    return verdict;
}

static void __syncthreads() { __syncthreads_or(false); }

static void whole_thread() {
    for (;;) {
        start();
        running->ended = true;
        to_scheduler();
    }
}

// Until it ends or waits.
static void run_thread(Thread& thread) {
    running = &thread;
    if (_setjmp(scheduler)) return;
    if (thread.begun) _longjmp(thread.place, 1);
    thread.begun = true;
    ucontext_t first;
    getcontext(&first);
    first.uc_stack.ss_sp = thread.stack.data(), first.uc_stack.ss_size = STACK;
    makecontext(&first, whole_thread, 0);
    setcontext(&first);
}

// False when some threads wait at a barrier that others never reach.
static bool run_block() {
    for (Thread& thread : threads) thread.ended = false;
    vote = false;
    for (size_t ended = 0; ended < threads.size();) {
        ended = 0;
        threadIdx = {0, 0};
        for (Thread& thread : threads) {
            if (thread.ended) {
                threads.clear();  // some are in the middle of it
                return false;
            }
            run_thread(thread);
            ended += thread.ended;
            ++threadIdx.x;
        }
        verdict = vote, vote = false;
    }
    return true;
}

template <class Arguments>
struct Launch {
    static Arguments arguments;
    static void (*kernel)(Arguments);
    static void thread() { kernel(arguments); }
};
template <class Arguments> Arguments Launch<Arguments>::arguments;
template <class Arguments> void (*Launch<Arguments>::kernel)(Arguments);

template <class Arguments>
static int run(void (*kernel)(Arguments), const void* bytes, size_t shared) {
    if (shared > SHARED_LIMIT) return 3;
    memcpy(&Launch<Arguments>::arguments, bytes, sizeof(Arguments));
    Launch<Arguments>::kernel = kernel;
    start = Launch<Arguments>::thread;
    threads.resize(blockDim.x);
    uint8_t* guarded = (uint8_t*)memory;
    all_sectors = 0;
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) {
            memset(guarded, POISON, shared + GUARD);
            if (!run_block()) return 4;
            for (size_t i = shared; i < shared + GUARD; ++i)
                if (guarded[i] != POISON) return 5;
            all_sectors += sectors.size();
            sectors.clear();
        }
    return 0;
}

// Bytes of a kernel's arguments; 0 when there is no such kernel.
extern "C" size_t arguments_of(const char* name) {
    if (!strcmp(name, "prepare")) return sizeof(PrepareArguments);
    if (!strcmp(name, "decode")) return sizeof(DecodeArguments);
    return 0;
}

// 0, or: 1 unknown kernel, 2 `size` is not that of its arguments, 3 too much shared memory, 4 a barrier that not all
// threads reach, 5 shared memory written out of bounds.
extern "C" int launch(const char* name, unsigned across, unsigned down, unsigned threads, unsigned shared,
                      const void* arguments, size_t size) {
    gridDim = {across, down}, blockDim = {threads, 1};
    if (!arguments_of(name)) return 1;
    if (size != arguments_of(name)) return 2;
    return !strcmp(name, "prepare") ? run(prepare, arguments, shared) : run(decode, arguments, shared);
}

// From now on, count the sectors of memory that 16-byte loads touch; returns those of the last launch.
extern "C" size_t count_sectors() {
    counts_sectors = true;
    return all_sectors;
}
