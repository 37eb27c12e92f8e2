// The kernels around the network: camera bytes -> fp16 planes, logits -> class, label and confidence at camera size.
// What each does to a pixel or a cell is in kernels.h.
#include "kernels.h"

#define PREPARE(NAME, LAYOUT)                                                     \
    extern "C" __global__ void NAME(PrepareArguments a) {                         \
        const int x = blockIdx.x * blockDim.x + threadIdx.x;                      \
        const int y = blockIdx.y * blockDim.y + threadIdx.y;                      \
        if (x < a.width && y < a.height) prepare_pixel<LAYOUT>(a, x, y);          \
    }

PREPARE(prepare_bgr, BGR)
PREPARE(prepare_rgb, RGB)
PREPARE(prepare_bgra, BGRA)
PREPARE(prepare_rgba, RGBA)
PREPARE(prepare_mono, MONO)
PREPARE(prepare_uyvy, UYVY)
PREPARE(prepare_yuyv, YUYV)
PREPARE(prepare_nv12, NV12)
PREPARE(prepare_nv21, NV21)

// Blocks of one row of threads, any number of them; one block a tile, with tiling.py's bytes of shared memory.
extern "C" __global__ void decode_tiles(DecodeArguments a) {
    extern __shared__ float memory[];
    const int thread = threadIdx.x, threads = blockDim.x;
    const int block = blockIdx.y * gridDim.x + blockIdx.x, blocks = gridDim.x * gridDim.y;
    const Tile t = tile_at(a, blockIdx.x, blockIdx.y, memory);

    for (int i = thread; i < t.cells * a.classes; i += threads) load_logit(a, t, i);
    // All blocks together look at every logit: where there are fewer pixels than cells, some cells are in no window.
    const int logits = a.classes * a.grid_height * a.grid_width;
    bool finite = true;
    for (int i = block * threads + thread; i < logits; i += blocks * threads)
        finite = finite && is_finite(from_half(a.logits[i]));
    const bool overflow = __syncthreads_or(!finite);

    for (int i = thread; i < t.cells; i += threads) describe_cell(a, t, i);
    __syncthreads();

    const int strips = strips_a_row(t) * (t.bottom - t.top);
    for (int i = thread; i < strips; i += threads) decode_strip(a, t, i);
    if (thread == 0) a.reports[block] = overflow ? NOT_FINITE : *a.ticket;
}
