// The kernels around the network: camera bytes -> pixels that the network sees, logits -> class, label and confidence at
// camera size. The tests build the same text with a C++ compiler for the host and compare it with core/resize.py and
// core/decode.py. Compile without contraction of a*b+c (--fmad=false, -ffp-contract=off): then host and device give the
// same bits, except for exp and log.
//
// Tensors at both ends of the network are HWC8: (height, width, channels) fp16, channels padded to a multiple of 8, so
// that a pixel or a cell is whole 16-byte words, and TensorRT needs no layer that reorders them.
#ifdef __CUDACC_RTC__  // has no standard headers
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
#else
#include <math.h>
#include <stdint.h>
#endif
#ifdef __CUDACC__
#define HD __device__ __forceinline__
#else
#define HD inline
#endif

#ifndef LOADED
#define LOADED(from)  // the tests count which memory is read
#endif

#define GROUPS 4  // background, road, pavement, obstacle: core/classes.py
#define UNKNOWN 255

struct alignas(16) Vector { uint32_t word[4]; };

HD Vector load_vector(const void* from) {
    LOADED(from);
    return *(const Vector*)from;
}

HD int smaller(int a, int b) { return a < b ? a : b; }

// ---- fp16 in memory: its bits, so that the host needs no half type ----

typedef uint16_t half_bits;

HD float from_half(half_bits bits) {
#ifdef __CUDA_ARCH__
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
#else
    const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
    float value;
    if (exponent == 31) value = fraction ? NAN : INFINITY;
    else if (exponent == 0) value = ldexpf((float)fraction, -24);
    else value = ldexpf((float)(fraction | 1024), exponent - 25);
    return bits & 0x8000 ? -value : value;
#endif
}

HD half_bits byte_to_half(int byte) {  // 0..255 is exact in fp16
#ifdef __CUDA_ARCH__
    half_bits bits;
    asm("cvt.rn.f16.s32 %0, %1;" : "=h"(bits) : "r"(byte));
    return bits;
#else
    if (byte == 0) return 0;
    int exponent = 0;
    while ((byte >> exponent) > 1) ++exponent;
    return (half_bits)(((exponent + 15) << 10) | ((byte << (10 - exponent)) & 1023));
#endif
}

HD half_bits half_of(const Vector& v, int k) { return (half_bits)(v.word[k / 2] >> (k % 2 * 16)); }

HD bool is_finite(half_bits bits) { return (bits & 0x7C00) != 0x7C00; }

// ---- before the network: camera bytes -> RGB of 0..255 ----

// A block of threads makes one tile of the network's input. It copies the window of camera bytes that the tile needs
// into its shared memory, in 16-byte words: each byte is read about once, whatever the scale.

struct Rgb { int r, g, b; };

// A place between two pixels: `lower` and the next one, weighted 2048 - `weight` and `weight`.
struct Tap { int32_t lower, weight; };

struct PrepareArguments {
    const uint8_t* image;   // rows of `pitch` bytes; both are multiples of 16
    const Tap* columns;     // `width` of them, places in the halved image
    const Tap* rows;        // `height` of them
    Vector* pixels;         // (height, width, 8) fp16: R, G, B and zeros
    int32_t pitch;
    int32_t step;           // bytes from a pixel to the next one
    int32_t at[3];          // of a pixel's R, G and B; or of its Y, and of U and V in its pair of pixels
    int32_t yuv;
    int32_t chroma_row;     // the row where U and V begin, one row for two of pixels; 0: they lie beside Y
    int32_t halvings;       // 0..3
    int32_t halved_width, halved_height;
    int32_t width, height;  // what the network sees
    int32_t tile_width, tile_height;
};

// A tile, and the window of camera bytes around its pixels. tiling.py counts the bytes of `memory` the same way.
struct Window {
    int left, top, right, bottom;      // the tile's pixels; right and bottom are the first beyond
    int first_column, first_row;       // what it needs of the halved image
    int columns, rows;
    int x, y;                          // and of the camera's: the first pixel,
    int first_byte, row_bytes;         // the bytes of each row,
    int luma_rows, chroma_rows;        // and the rows
    uint8_t* bytes;                    // (luma_rows + chroma_rows, row_bytes)
    uint32_t* halved;                  // (rows, columns): R, G and B in a word
};

HD Window window_at(const PrepareArguments& a, int column, int row, Vector* memory) {
    Window w;
    w.left = column * a.tile_width, w.top = row * a.tile_height;
    w.right = smaller(w.left + a.tile_width, a.width), w.bottom = smaller(w.top + a.tile_height, a.height);
    w.first_column = a.columns[w.left].lower, w.first_row = a.rows[w.top].lower;
    w.columns = smaller(a.columns[w.right - 1].lower + 1, a.halved_width - 1) - w.first_column + 1;
    w.rows = smaller(a.rows[w.bottom - 1].lower + 1, a.halved_height - 1) - w.first_row + 1;
    w.x = w.first_column << a.halvings, w.y = w.first_row << a.halvings;
    w.first_byte = w.x * a.step & ~15;
    w.row_bytes = ((((w.first_column + w.columns) << a.halvings) * a.step + 15) & ~15) - w.first_byte;
    w.luma_rows = w.rows << a.halvings;
    w.chroma_rows = a.chroma_row ? (w.y + w.luma_rows - 1) / 2 - w.y / 2 + 1 : 0;
    w.bytes = (uint8_t*)memory;
    w.halved = (uint32_t*)(w.bytes + (w.luma_rows + w.chroma_rows) * w.row_bytes);
    return w;
}

// The i-th word of the window, row by row.
HD void load_bytes(const PrepareArguments& a, const Window& w, int i) {
    const int words = w.row_bytes / 16, line = i / words;
    const int row = line < w.luma_rows ? w.y + line : a.chroma_row + w.y / 2 + line - w.luma_rows;
    ((Vector*)w.bytes)[i] = load_vector(a.image + (int64_t)row * a.pitch + w.first_byte + 16 * (i - line * words));
}

HD int saturate(int value) { return value < 0 ? 0 : value > 255 ? 255 : value; }

// ITU-R BT.601, limited range, in the fixed point of OpenCV's cvtColor (imgproc/color_yuv.simd.hpp).
HD Rgb from_yuv(int y, int u, int v) {
    y = (y > 16 ? y - 16 : 0) * 1220542;
    u -= 128;
    v -= 128;
    const int half = 1 << 19;
    return {saturate((y + half + 1673527 * v) >> 20), saturate((y + half - 852492 * v - 409993 * u) >> 20),
            saturate((y + half + 2116026 * u) >> 20)};
}

HD Rgb pixel(const PrepareArguments& a, const Window& w, int x, int y) {
    const uint8_t* row = w.bytes + (y - w.y) * w.row_bytes - w.first_byte;
    const uint8_t* p = row + x * a.step;
    if (!a.yuv) return {p[a.at[0]], p[a.at[1]], p[a.at[2]]};
    if (a.chroma_row) row = w.bytes + (w.luma_rows + y / 2 - w.y / 2) * w.row_bytes - w.first_byte;
    const uint8_t* pair = row + (x & ~1) * a.step;
    return from_yuv(p[a.at[0]], pair[a.at[1]], pair[a.at[2]]);
}

// One pixel of the image halved HALVINGS times: the mean of 2x2, rounded each time.
template <int HALVINGS>
HD Rgb halved(const PrepareArguments& a, const Window& w, int x, int y);

template <>
HD Rgb halved<0>(const PrepareArguments& a, const Window& w, int x, int y) { return pixel(a, w, x, y); }

template <int HALVINGS>
HD Rgb halved(const PrepareArguments& a, const Window& w, int x, int y) {
    Rgb sum = {2, 2, 2};
#ifdef __CUDACC__
#pragma unroll(HALVINGS > 1 ? 1 : 4)
#endif
    for (int i = 0; i < 4; ++i) {
        const Rgb p = halved<HALVINGS - 1>(a, w, 2 * x + (i & 1), 2 * y + (i >> 1));
        sum.r += p.r, sum.g += p.g, sum.b += p.b;
    }
    return {sum.r >> 2, sum.g >> 2, sum.b >> 2};
}

// The i-th pixel of the halved image that the window holds.
HD void halve_pixel(const PrepareArguments& a, const Window& w, int i) {
    const int x = w.first_column + i % w.columns, y = w.first_row + i / w.columns;
    Rgb p;
    switch (a.halvings) {  // the same for all threads
        case 0: p = halved<0>(a, w, x, y); break;
        case 1: p = halved<1>(a, w, x, y); break;
        case 2: p = halved<2>(a, w, x, y); break;
        default: p = halved<3>(a, w, x, y);
    }
    w.halved[i] = p.r | p.g << 8 | p.b << 16;
}

// OpenCV's INTER_LINEAR for uint8: 11 bits of weight both ways, rounded as its vertical pass does.
HD uint32_t blend(uint32_t upper_left, uint32_t upper_right, uint32_t lower_left, uint32_t lower_right, Tap column,
                  Tap row, int shift) {
    const int fx = column.weight, fy = row.weight;
    const int upper = (upper_left >> shift & 255) * (2048 - fx) + (upper_right >> shift & 255) * fx;
    const int lower = (lower_left >> shift & 255) * (2048 - fx) + (lower_right >> shift & 255) * fx;
    return byte_to_half(((((2048 - fy) * (upper >> 4)) >> 16) + ((fy * (lower >> 4)) >> 16) + 2) >> 2);
}

// The i-th pixel of the tile.
HD void prepare_pixel(const PrepareArguments& a, const Window& w, int i) {
    const int x = w.left + i % (w.right - w.left), y = w.top + i / (w.right - w.left);
    const Tap column = a.columns[x], row = a.rows[y];
    const int right = column.lower + 1 < a.halved_width ? 1 : 0;
    const int below = row.lower + 1 < a.halved_height ? w.columns : 0;
    const uint32_t* p = w.halved + (row.lower - w.first_row) * w.columns + column.lower - w.first_column;
    const uint32_t r = blend(p[0], p[right], p[below], p[below + right], column, row, 0);
    const uint32_t g = blend(p[0], p[right], p[below], p[below + right], column, row, 8);
    const uint32_t b = blend(p[0], p[right], p[below], p[below + right], column, row, 16);
    a.pixels[(int64_t)y * a.width + x] = {{r | g << 16, b, 0, 0}};
}

// ---- after the network: logits -> class, label, confidence (see core/decode.py for what and why) ----

// A block of threads decodes one tile of pixels. It loads the window of cells around them into its shared memory and
// describes them there; then its pixels need nothing else. Cells between two tiles are described by both: that costs
// less than a second kernel, and what it describes never leaves the chip.

#define STRIP 4         // pixels that a thread decodes side by side: one 32-bit store for each image
#define NOT_FINITE 255  // a tile's report in place of the ticket

// Where a pixel falls between two cells: cell `lower` and the next one, weighted 1 - `weight` and `weight`.
struct Place { int32_t lower; float weight; };

struct DecodeArguments {
    const half_bits* logits;        // (grid_height, grid_width, channels)
    const uint8_t* group_of_class;
    const float* mean;              // trust statistics by class
    const float* deviation;
    const Place* columns;           // `width` of them
    const Place* rows;              // `height` of them
    uint8_t* classes_out;           // (height, width)
    uint8_t* labels_out;
    uint8_t* confidence_out;
    const uint8_t* ticket;          // of this frame, 1..254: came in with its pixels, goes out with its results
    uint8_t* reports;               // one a tile: the ticket, or NOT_FINITE
    float temperature;
    float trust_limit;
    int32_t classes, channels;      // channels: classes, padded to a multiple of 8
    int32_t grid_width, grid_height;
    int32_t width, height;          // of the results
    int32_t tile_width, tile_height;
};

// A tile, and the window of cells around its pixels. tiling.py counts the bytes of `memory` the same way.
struct Tile {
    int left, top, right, bottom;   // its pixels; right and bottom are the first beyond
    int first_column, first_row;    // its cells
    int columns, cells;
    int stride;                     // from one cell's logits to the next one's
    float* logits;                  // (cells, stride)
    float* group;                   // (cells, GROUPS), probabilities
    float* trust;                   // (cells)
    uint8_t* class_id;              // (cells)
};

HD Tile tile_at(const DecodeArguments& a, int column, int row, Vector* memory) {
    Tile t;
    t.left = column * a.tile_width, t.top = row * a.tile_height;
    t.right = smaller(t.left + a.tile_width, a.width), t.bottom = smaller(t.top + a.tile_height, a.height);
    t.first_column = a.columns[t.left].lower, t.first_row = a.rows[t.top].lower;
    t.columns = smaller(a.columns[t.right - 1].lower + 1, a.grid_width - 1) - t.first_column + 1;
    t.cells = t.columns * (smaller(a.rows[t.bottom - 1].lower + 1, a.grid_height - 1) - t.first_row + 1);
    t.stride = a.classes | 1;       // odd: neighbouring cells lie in different banks
    t.logits = (float*)memory;
    t.group = t.logits + t.cells * t.stride;
    t.trust = t.group + t.cells * GROUPS;
    t.class_id = (uint8_t*)(t.trust + t.cells);
    return t;
}

// The i-th of the words that hold the logits of the tile's cells, 8 in each.
HD void load_logits(const DecodeArguments& a, const Tile& t, int i) {
    const int words = a.channels / 8, cell = i / words, first = i % words * 8;
    const int row = t.first_row + cell / t.columns, column = t.first_column + cell % t.columns;
    const Vector v = load_vector(a.logits + ((int64_t)row * a.grid_width + column) * a.channels + first);
    for (int k = 0; k < smaller(8, a.classes - first); ++k)
        t.logits[cell * t.stride + first + k] = from_half(half_of(v, k));
}

// Whether the i-th of all words holds numbers; what pads the classes may be anything.
HD bool numbers(const DecodeArguments& a, int i) {
    const Vector v = load_vector(a.logits + (int64_t)i * 8);
    const int first = i % (a.channels / 8) * 8;
    bool finite = true;
    for (int k = 0; k < smaller(8, a.classes - first); ++k) finite = finite && is_finite(half_of(v, k));
    return finite;
}

HD void describe_cell(const DecodeArguments& a, const Tile& t, int cell) {
    const float* logits = t.logits + cell * t.stride;
    int best = 0;
    float highest = 0.0f;
    for (int k = 0; k < a.classes; ++k) {
        if (k == 0 || logits[k] > highest) {
            best = k;
            highest = logits[k];
        }
    }
    float group[GROUPS] = {0.0f, 0.0f, 0.0f, 0.0f};
    float total = 0.0f;
    const float inverse = 1.0f / a.temperature;
    for (int k = 0; k < a.classes; ++k) {
        const float share = expf((logits[k] - highest) * inverse);
        const int mine = a.group_of_class[k];
        for (int g = 0; g < GROUPS; ++g) group[g] += g == mine ? share : 0.0f;  // keeps `group` in registers
        total += share;
    }
    const float scale = 1.0f / total;
    for (int g = 0; g < GROUPS; ++g) t.group[cell * GROUPS + g] = group[g] * scale;
    t.class_id[cell] = (uint8_t)best;
    t.trust[cell] = (highest + a.temperature * logf(total) - a.mean[best]) / a.deviation[best];
}

// The four cells around a pixel, and what pixels between them share.
struct Corners {
    int cell[4];            // upper left, upper right, lower left, lower right; in the tile's window
    int shared_class;       // -1 where the corners differ
    float probability[4];   // of the shared class's group
    float trust[4];
};

HD bool judges_trust(const DecodeArguments& a) { return a.trust_limit - a.trust_limit == 0.0f; }  // finite

HD float mix(const float* corner, float fx, float fy) {
    const float left = (1.0f - fy) * corner[0] + fy * corner[2];
    const float right = (1.0f - fy) * corner[1] + fy * corner[3];
    return (1.0f - fx) * left + fx * right;
}

// column, row: of the upper left cell, in the whole grid.
HD Corners corners(const DecodeArguments& a, const Tile& t, int column, int row) {
    const int right = column + 1 < a.grid_width ? 1 : 0, below = row + 1 < a.grid_height ? t.columns : 0;
    Corners c;
    c.cell[0] = (row - t.first_row) * t.columns + column - t.first_column;
    c.cell[1] = c.cell[0] + right;
    c.cell[2] = c.cell[0] + below;
    c.cell[3] = c.cell[2] + right;
    const int k = t.class_id[c.cell[0]];
    const bool same = k == t.class_id[c.cell[1]] && k == t.class_id[c.cell[2]] && k == t.class_id[c.cell[3]];
    c.shared_class = same ? k : -1;
    const int group = a.group_of_class[k];
    for (int i = 0; i < 4; ++i) {
        c.probability[i] = t.group[c.cell[i] * GROUPS + group];
        c.trust[i] = judges_trust(a) ? t.trust[c.cell[i]] : 0.0f;
    }
    return c;
}

// The argmax of the interpolated logits, the lowest id on a tie.
HD int mixed_class(const DecodeArguments& a, const Tile& t, const Corners& c, float fx, float fy) {
    const float gx = 1.0f - fx, gy = 1.0f - fy;
    int best = 0, best_left = 0, best_right = 0;
    float highest = 0.0f, highest_left = 0.0f, highest_right = 0.0f;
    for (int k = 0; k < a.classes; ++k) {
        const float left = gy * t.logits[c.cell[0] * t.stride + k] + fy * t.logits[c.cell[2] * t.stride + k];
        const float right = gy * t.logits[c.cell[1] * t.stride + k] + fy * t.logits[c.cell[3] * t.stride + k];
        const float value = gx * left + fx * right;
        if (k == 0 || left > highest_left) best_left = k, highest_left = left;
        if (k == 0 || right > highest_right) best_right = k, highest_right = right;
        if (k == 0 || value > highest) best = k, highest = value;
    }
    return best_left == best_right ? best_left : best;  // then so is all between, whatever the rounding
}

HD void decode_pixel(const DecodeArguments& a, const Tile& t, const Corners& c, float fx, float fy, uint8_t* class_id,
                     uint8_t* label, uint8_t* confidence) {
    int best = c.shared_class;
    float probability[4];
    if (best >= 0) {
        for (int i = 0; i < 4; ++i) probability[i] = c.probability[i];
    } else {
        best = mixed_class(a, t, c, fx, fy);
        const int group = a.group_of_class[best];
        for (int i = 0; i < 4; ++i) probability[i] = t.group[c.cell[i] * GROUPS + group];
    }
    *class_id = (uint8_t)best;
    *confidence = (uint8_t)(int)(mix(probability, fx, fy) * 255.0f + 0.5f);
    const bool trusted = !judges_trust(a) || mix(c.trust, fx, fy) >= a.trust_limit;
    *label = trusted ? a.group_of_class[best] : UNKNOWN;
}

HD void store(uint8_t* out, const uint8_t* values, int count, bool aligned) {
    if (aligned) {
        *(uint32_t*)out = values[0] | values[1] << 8 | values[2] << 16 | (uint32_t)values[3] << 24;
    } else {
        for (int i = 0; i < count; ++i) out[i] = values[i];
    }
}

HD int strips_a_row(const Tile& t) { return (t.right - t.left + STRIP - 1) / STRIP; }

// The i-th strip of a tile, row by row.
HD void decode_strip(const DecodeArguments& a, const Tile& t, int i) {
    const int x = t.left + i % strips_a_row(t) * STRIP, y = t.top + i / strips_a_row(t);
    const int count = smaller(STRIP, t.right - x);
    const bool aligned = a.width % STRIP == 0 && a.tile_width % STRIP == 0;  // then so are all strips
    const Place row = a.rows[y];
    uint8_t class_id[STRIP], label[STRIP], confidence[STRIP];
    Corners c = {};
    int described = -1;
#ifdef __CUDACC__
#pragma unroll  // keeps the strip in registers
#endif
    for (int j = 0; j < STRIP; ++j) {
        const Place column = a.columns[x + smaller(j, count - 1)];
        if (column.lower != described) {
            described = column.lower;
            c = corners(a, t, column.lower, row.lower);
        }
        decode_pixel(a, t, c, column.weight, row.weight, class_id + j, label + j, confidence + j);
    }
    const int64_t at = (int64_t)y * a.width + x;
    store(a.classes_out + at, class_id, count, aligned);
    store(a.labels_out + at, label, count, aligned);
    store(a.confidence_out + at, confidence, count, aligned);
}

// ---- the kernels: blocks of one row of threads, any number of them; one block a tile, with tiling.py's bytes of shared
// memory ----

extern __shared__ Vector memory[];

extern "C" __global__ void prepare(PrepareArguments a) {
    const int thread = threadIdx.x, threads = blockDim.x;
    const Window w = window_at(a, blockIdx.x, blockIdx.y, memory);

    for (int i = thread; i < (w.luma_rows + w.chroma_rows) * w.row_bytes / 16; i += threads) load_bytes(a, w, i);
    __syncthreads();

    for (int i = thread; i < w.columns * w.rows; i += threads) halve_pixel(a, w, i);
    __syncthreads();

    const int pixels = (w.right - w.left) * (w.bottom - w.top);
    for (int i = thread; i < pixels; i += threads) prepare_pixel(a, w, i);
}

extern "C" __global__ void decode(DecodeArguments a) {
    const int thread = threadIdx.x, threads = blockDim.x;
    const int block = blockIdx.y * gridDim.x + blockIdx.x, blocks = gridDim.x * gridDim.y;
    const Tile t = tile_at(a, blockIdx.x, blockIdx.y, memory);

    for (int i = thread; i < t.cells * a.channels / 8; i += threads) load_logits(a, t, i);
    // All blocks together look at every logit: where there are fewer pixels than cells, some cells are in no window.
    bool finite = true;
    for (int i = block * threads + thread; i < a.grid_height * a.grid_width * a.channels / 8; i += blocks * threads)
        finite = finite && numbers(a, i);
    const bool overflow = __syncthreads_or(!finite);

    for (int i = thread; i < t.cells; i += threads) describe_cell(a, t, i);
    __syncthreads();

    const int strips = strips_a_row(t) * (t.bottom - t.top);
    for (int i = thread; i < strips; i += threads) decode_strip(a, t, i);
    if (thread == 0) a.reports[block] = overflow ? NOT_FINITE : *a.ticket;
}
