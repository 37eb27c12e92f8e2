// The kernels around the network: camera bytes -> fp16 planes, logits -> class, label and confidence at camera size.
// What each does to a pixel is in kernels.h.
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

extern "C" __global__ void describe_cells(DescribeArguments a) {
    const int cell = blockIdx.x * blockDim.x + threadIdx.x;
    if (cell < a.cells) describe_cell(a, cell);
}

extern "C" __global__ void decode_pixels(DecodeArguments a) {
    const int x = (blockIdx.x * blockDim.x + threadIdx.x) * PATCH_WIDTH;
    const int y = (blockIdx.y * blockDim.y + threadIdx.y) * PATCH_HEIGHT;
    if (x < a.width && y < a.height) decode_patch(a, x, y);
}
