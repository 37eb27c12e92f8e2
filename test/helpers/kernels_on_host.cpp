// kernels.cu built for the host: the threads of a launch run one after the other.
#include <stddef.h>
#include <string.h>

#define __global__
struct Index { unsigned x, y; };
static thread_local Index blockIdx, threadIdx, blockDim;

#include "kernels.cu"

template <class Arguments>
static void run(void (*kernel)(Arguments), Index grid, Index block, const void* bytes) {
    Arguments arguments;
    memcpy(&arguments, bytes, sizeof arguments);
    blockDim = block;
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x)
            for (threadIdx.y = 0; threadIdx.y < block.y; ++threadIdx.y)
                for (threadIdx.x = 0; threadIdx.x < block.x; ++threadIdx.x) kernel(arguments);
}

// 0, or 1 for an unknown kernel, or 2 when `size` is not that of its arguments.
extern "C" int launch(const char* name, unsigned grid_x, unsigned grid_y, unsigned block_x, unsigned block_y,
                      const void* arguments, size_t size) {
    const Index grid = {grid_x, grid_y}, block = {block_x, block_y};
#define KERNEL(NAME, ARGUMENTS)                      \
    if (!strcmp(name, #NAME)) {                      \
        if (size != sizeof(ARGUMENTS)) return 2;     \
        run<ARGUMENTS>(NAME, grid, block, arguments); \
        return 0;                                    \
    }
    KERNEL(prepare_bgr, PrepareArguments)
    KERNEL(prepare_rgb, PrepareArguments)
    KERNEL(prepare_bgra, PrepareArguments)
    KERNEL(prepare_rgba, PrepareArguments)
    KERNEL(prepare_mono, PrepareArguments)
    KERNEL(prepare_uyvy, PrepareArguments)
    KERNEL(prepare_yuyv, PrepareArguments)
    KERNEL(prepare_nv12, PrepareArguments)
    KERNEL(prepare_nv21, PrepareArguments)
    KERNEL(describe_cells, DescribeArguments)
    KERNEL(decode_pixels, DecodeArguments)
    return 1;
}
