// The arithmetic of the kernels, one pixel or cell at a time, for the device and for the host: kernels.cu launches it on
// a GPU, the tests build the same text with a C++ compiler and compare it with core/resize.py and core/decode.py.
// Compile without contraction of a*b+c (-fmad=false, -ffp-contract=off): then host and device give the same bits, except
// for exp and log.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#include <cuda_fp16.h>
#define HD __host__ __device__ __forceinline__
#else
#define HD inline
#endif

#define GROUPS 4  // background, road, pavement, obstacle: core/classes.py
#define UNKNOWN 255

// ---- fp16 in memory: its bits, so that the host needs no half type ----

typedef uint16_t half_bits;

HD float from_half(half_bits bits) {
#ifdef __CUDA_ARCH__
    return __half2float(__ushort_as_half(bits));
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
    return __half_as_ushort(__int2half_rn(byte));
#else
    if (byte == 0) return 0;
    int exponent = 0;
    while ((byte >> exponent) > 1) ++exponent;
    return (half_bits)(((exponent + 15) << 10) | ((byte << (10 - exponent)) & 1023));
#endif
}

HD int smaller(int a, int b) { return a < b ? a : b; }

// ---- before the network: camera bytes -> RGB planes of 0..255 ----

struct Rgb { int r, g, b; };

enum Layout { BGR, RGB, BGRA, RGBA, MONO, UYVY, YUYV, NV12, NV21 };

// A place between two pixels: `place` and the next one, weighted 2048 - `weight` and `weight`.
struct Tap { int32_t place, weight; };

struct PrepareArguments {
    const uint8_t* image;   // rows of `pitch` bytes
    const Tap* columns;     // `width` of them, places in the halved image
    const Tap* rows;        // `height` of them
    half_bits* planes;      // (3, height, width)
    int32_t pitch;
    int32_t image_height;   // rows of pixels: where the chroma of NV12 and NV21 begins
    int32_t halved_width, halved_height;
    int32_t width, height;  // what the network sees
    int32_t halvings;       // 0..3
};

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

template <int LAYOUT>
HD Rgb pixel(const PrepareArguments& a, int x, int y) {
    const uint8_t* row = a.image + (int64_t)y * a.pitch;
    if (LAYOUT == BGR || LAYOUT == RGB) {
        const uint8_t* p = row + 3 * x;
        return LAYOUT == BGR ? Rgb{p[2], p[1], p[0]} : Rgb{p[0], p[1], p[2]};
    }
    if (LAYOUT == BGRA || LAYOUT == RGBA) {
        const uint8_t* p = row + 4 * x;
        return LAYOUT == BGRA ? Rgb{p[2], p[1], p[0]} : Rgb{p[0], p[1], p[2]};
    }
    if (LAYOUT == MONO) return {row[x], row[x], row[x]};
    if (LAYOUT == UYVY || LAYOUT == YUYV) {
        const uint8_t* pair = row + 4 * (x / 2);
        const int second = 2 * (x & 1);
        return LAYOUT == UYVY ? from_yuv(pair[1 + second], pair[0], pair[2])
                              : from_yuv(pair[second], pair[1], pair[3]);
    }
    const uint8_t* chroma = a.image + (int64_t)(a.image_height + y / 2) * a.pitch + (x & ~1);
    return LAYOUT == NV12 ? from_yuv(row[x], chroma[0], chroma[1]) : from_yuv(row[x], chroma[1], chroma[0]);
}

// One pixel of the image halved HALVINGS times: the mean of 2x2, rounded each time.
template <int LAYOUT, int HALVINGS>
struct Halved {
    static HD Rgb at(const PrepareArguments& a, int x, int y) {
        Rgb sum = {2, 2, 2};
#ifdef __CUDACC__
#pragma unroll(HALVINGS > 1 ? 1 : 4)
#endif
        for (int i = 0; i < 4; ++i) {
            const Rgb p = Halved<LAYOUT, HALVINGS - 1>::at(a, 2 * x + (i & 1), 2 * y + (i >> 1));
            sum.r += p.r, sum.g += p.g, sum.b += p.b;
        }
        return {sum.r >> 2, sum.g >> 2, sum.b >> 2};
    }
};

template <int LAYOUT>
struct Halved<LAYOUT, 0> {
    static HD Rgb at(const PrepareArguments& a, int x, int y) { return pixel<LAYOUT>(a, x, y); }
};

// OpenCV's INTER_LINEAR for uint8: 11 bits of weight both ways, rounded as its vertical pass does.
HD int blend(int upper_left, int upper_right, int lower_left, int lower_right, int fx, int fy) {
    const int upper = upper_left * (2048 - fx) + upper_right * fx;
    const int lower = lower_left * (2048 - fx) + lower_right * fx;
    return ((((2048 - fy) * (upper >> 4)) >> 16) + ((fy * (lower >> 4)) >> 16) + 2) >> 2;
}

template <int LAYOUT, int HALVINGS>
HD void prepare_halved(const PrepareArguments& a, int x, int y) {
    const Tap column = a.columns[x], row = a.rows[y];
    const int right = smaller(column.place + 1, a.halved_width - 1);
    const int below = smaller(row.place + 1, a.halved_height - 1);
    const Rgb p = Halved<LAYOUT, HALVINGS>::at(a, column.place, row.place);
    const Rgb q = Halved<LAYOUT, HALVINGS>::at(a, right, row.place);
    const Rgb s = Halved<LAYOUT, HALVINGS>::at(a, column.place, below);
    const Rgb t = Halved<LAYOUT, HALVINGS>::at(a, right, below);
    const int plane = a.width * a.height, i = y * a.width + x;
    a.planes[i] = byte_to_half(blend(p.r, q.r, s.r, t.r, column.weight, row.weight));
    a.planes[i + plane] = byte_to_half(blend(p.g, q.g, s.g, t.g, column.weight, row.weight));
    a.planes[i + 2 * plane] = byte_to_half(blend(p.b, q.b, s.b, t.b, column.weight, row.weight));
}

template <int LAYOUT>
HD void prepare_pixel(const PrepareArguments& a, int x, int y) {
    switch (a.halvings) {  // the same for all threads
        case 0: prepare_halved<LAYOUT, 0>(a, x, y); break;
        case 1: prepare_halved<LAYOUT, 1>(a, x, y); break;
        case 2: prepare_halved<LAYOUT, 2>(a, x, y); break;
        default: prepare_halved<LAYOUT, 3>(a, x, y);
    }
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
    const half_bits* logits;        // (classes, grid_height, grid_width)
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
    int32_t classes, grid_width, grid_height;
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

HD Tile tile_at(const DecodeArguments& a, int column, int row, float* memory) {
    Tile t;
    t.left = column * a.tile_width, t.top = row * a.tile_height;
    t.right = smaller(t.left + a.tile_width, a.width), t.bottom = smaller(t.top + a.tile_height, a.height);
    t.first_column = a.columns[t.left].lower, t.first_row = a.rows[t.top].lower;
    t.columns = smaller(a.columns[t.right - 1].lower + 1, a.grid_width - 1) - t.first_column + 1;
    t.cells = t.columns * (smaller(a.rows[t.bottom - 1].lower + 1, a.grid_height - 1) - t.first_row + 1);
    t.stride = a.classes | 1;       // odd: neighbouring cells lie in different banks
    t.logits = memory;
    t.group = t.logits + t.cells * t.stride;
    t.trust = t.group + t.cells * GROUPS;
    t.class_id = (uint8_t*)(t.trust + t.cells);
    return t;
}

HD bool is_finite(float value) { return value - value == 0.0f; }

// The i-th of cells * classes logits, in the order in which they lie in memory.
HD void load_logit(const DecodeArguments& a, const Tile& t, int i) {
    const int k = i / t.cells, cell = i % t.cells;
    const int row = t.first_row + cell / t.columns, column = t.first_column + cell % t.columns;
    t.logits[cell * t.stride + k] = from_half(a.logits[((int64_t)k * a.grid_height + row) * a.grid_width + column]);
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

HD bool judges_trust(const DecodeArguments& a) { return is_finite(a.trust_limit); }

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
#ifdef __CUDA_ARCH__
        *(uchar4*)out = make_uchar4(values[0], values[1], values[2], values[3]);
#else
        memcpy(out, values, STRIP);
#endif
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
