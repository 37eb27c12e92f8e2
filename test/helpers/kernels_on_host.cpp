// kernels.cu built for the host. The blocks of a launch run one after the other, each in shared memory that is poisoned
// and guarded; the threads of a block take turns: each runs until it ends or waits at a barrier.
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include <vector>

#define __global__
#define __shared__
struct Index { unsigned x, y; };
static Index blockIdx, threadIdx, blockDim, gridDim;
static void __syncthreads();
static bool __syncthreads_or(bool);

static const size_t SHARED_LIMIT = 48 << 10, GUARD = 256, STACK = 64 << 10;
static const uint8_t POISON = 0xFF;  // as floats: NaN
float memory[(SHARED_LIMIT + GUARD) / sizeof(float)];

#include "kernels.cu"

struct Thread {
    ucontext_t context;
    Index index;
    bool ended;
    std::vector<char> stack = std::vector<char>(STACK);
};

static std::vector<Thread> threads;
static Thread* running;
static ucontext_t scheduler;
static void (*start)();
static bool vote, verdict;  // of __syncthreads_or

static bool __syncthreads_or(bool mine) {
    vote = vote || mine;
    swapcontext(&running->context, &scheduler);
    return verdict;
}

static void __syncthreads() { __syncthreads_or(false); }

static void whole_thread() {
    start();
    running->ended = true;
}  // goes on in the scheduler

// False when some threads wait at a barrier that others never reach.
static bool run_block() {
    size_t i = 0;
    for (unsigned y = 0; y < blockDim.y; ++y)
        for (unsigned x = 0; x < blockDim.x; ++x) {
            Thread& thread = threads[i++];
            thread.index = {x, y}, thread.ended = false;
            getcontext(&thread.context);
            thread.context.uc_stack.ss_sp = thread.stack.data(), thread.context.uc_stack.ss_size = STACK;
            thread.context.uc_link = &scheduler;
            makecontext(&thread.context, whole_thread, 0);
        }
    vote = false;
    for (size_t ended = 0; ended < threads.size();) {
        ended = 0;
        for (Thread& thread : threads) {
            running = &thread, threadIdx = thread.index;
            if (thread.ended) return false;
            swapcontext(&scheduler, &thread.context);
            ended += thread.ended;
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

// Threads that wait for nobody need no turns, which take their time.
template <class Arguments>
static int run_freely(void (*kernel)(Arguments), const void* bytes) {
    Arguments arguments;
    memcpy(&arguments, bytes, sizeof arguments);
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x)
            for (threadIdx.y = 0; threadIdx.y < blockDim.y; ++threadIdx.y)
                for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x) kernel(arguments);
    return 0;
}

template <class Arguments>
static int run_in_turns(void (*kernel)(Arguments), const void* bytes, size_t shared) {
    if (shared > SHARED_LIMIT) return 3;
    memcpy(&Launch<Arguments>::arguments, bytes, sizeof(Arguments));
    Launch<Arguments>::kernel = kernel;
    start = Launch<Arguments>::thread;
    threads.resize(blockDim.x * blockDim.y);
    uint8_t* guarded = (uint8_t*)memory;
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) {
            memset(guarded, POISON, shared + GUARD);
            if (!run_block()) return 4;
            for (size_t i = shared; i < shared + GUARD; ++i)
                if (guarded[i] != POISON) return 5;
        }
    return 0;
}

// 0, or: 1 unknown kernel, 2 `size` is not that of its arguments, 3 too much shared memory, 4 a barrier that not all
// threads reach, 5 shared memory written out of bounds.
extern "C" int launch(const char* name, unsigned grid_x, unsigned grid_y, unsigned block_x, unsigned block_y,
                      unsigned shared, const void* arguments, size_t size) {
    gridDim = {grid_x, grid_y}, blockDim = {block_x, block_y};
#define PREPARES(NAME)                                                                   \
    if (!strcmp(name, #NAME))                                                            \
        return size == sizeof(PrepareArguments) ? run_freely(NAME, arguments) : 2;
    PREPARES(prepare_bgr)
    PREPARES(prepare_rgb)
    PREPARES(prepare_bgra)
    PREPARES(prepare_rgba)
    PREPARES(prepare_mono)
    PREPARES(prepare_uyvy)
    PREPARES(prepare_yuyv)
    PREPARES(prepare_nv12)
    PREPARES(prepare_nv21)
    if (!strcmp(name, "decode_tiles"))
        return size == sizeof(DecodeArguments) ? run_in_turns(decode_tiles, arguments, shared) : 2;
    return 1;
}
