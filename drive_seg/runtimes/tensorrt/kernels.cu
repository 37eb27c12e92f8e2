// The kernels around the network: camera bytes -> pixels that the network sees, logits -> class, label and confidence at
// camera size. Compiled without contraction of a*b+c (--fmad=false) they compute what core/resize.py and core/decode.py
// do, bit for bit but for exp and log: the tests build this text for the processor (test/helpers/on_host.h) and compare.
//
// Tensors at both ends of the network are HWC8: (height, width, channels) fp16, channels padded to a multiple of 8, so
// that a pixel or a cell is whole 16-byte words, and TensorRT needs no layer that reorders them.
//
// In both kernels a block of threads makes one tile of pixels. It loads what they are made from into its shared memory,
// in 16-byte words, each about once; tiling in intake.py counts the bytes of `memory` as is done here.

#define GROUPS 4        // background, road, pavement, obstacle: core/classes.py
#define UNKNOWN 255
#define NOT_FINITE 255  // a tile's report in place of the ticket
#define STRIP 4         // pixels below each other that a thread decodes: what they share is looked up once

typedef unsigned char byte;
typedef unsigned short half_bits;  // fp16 in memory

struct alignas(16) Vector { unsigned word[4]; };

#ifndef ON_HOST
#define HD __device__ __forceinline__
#define LOADED(from)  // the tests count which memory is read

HD float from_half(half_bits bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

HD half_bits byte_to_half(int value) {  // 0..255 is exact in fp16
    half_bits bits;
    asm("cvt.rn.f16.s32 %0, %1;" : "=h"(bits) : "r"(value));
    return bits;
}
#endif

HD Vector load_vector(const void* from) {
    LOADED(from);
    return *(const Vector*)from;
}

HD half_bits half_of(const Vector& v, int k) { return (half_bits)(v.word[k / 2] >> (k % 2 * 16)); }

HD int smaller(int a, int b) { return a < b ? a : b; }

// Where a row or column of pixels falls in its source: between `lower` and the next one, which has this weight.
struct Tap { int lower, weight; };          // of 2048
struct Place { int lower; float weight; };  // of 1

// A block's pixels, and the part of the source that they fall on.
struct Tile {
    int left, top, right, bottom;  // right and bottom are the first beyond
    int first_column, first_row, columns, rows;
};

template <class Arguments>
HD Tile tile_at(const Arguments& a, int column, int row) {
    Tile t;
    t.left = column * a.tile_width, t.top = row * a.tile_height;
    t.right = smaller(t.left + a.tile_width, a.width), t.bottom = smaller(t.top + a.tile_height, a.height);
    t.first_column = a.columns[t.left].lower, t.first_row = a.rows[t.top].lower;
    t.columns = smaller(a.columns[t.right - 1].lower + 1, a.source_width - 1) - t.first_column + 1;
    t.rows = smaller(a.rows[t.bottom - 1].lower + 1, a.source_height - 1) - t.first_row + 1;
    return t;
}

// ---- before the network: camera bytes -> RGB of 0..255 ----

struct PrepareArguments {
    const byte* image;      // rows of `pitch` bytes; both are multiples of 16
    const Tap* columns;     // `width` of them, into the halved image
    const Tap* rows;        // `height` of them
    Vector* pixels;         // (height, width, 8) fp16: R, G, B and zeros
    int pitch;
    int step;               // bytes from a pixel to the next one
    int at[3];              // of a pixel's R, G and B; or of its Y, and of U and V in its pair of pixels
    int yuv;
    int chroma_row;         // the row where U and V begin, one row for two of pixels; 0: they lie beside Y
    int halvings;           // 0..3
    int source_width, source_height;  // of the halved image
    int width, height;      // what the network sees
    int tile_width, tile_height;
};

// A tile, and the camera bytes around its pixels.
struct Window : Tile {
    int y;                         // the first row of the camera's pixels
    int first_byte, row_bytes;     // of each row
    int luma_rows, chroma_rows;
    byte* bytes;                   // (luma_rows + chroma_rows, row_bytes)
    unsigned* halved;              // (rows, columns): R, G and B in a word
};

HD Window window_at(const PrepareArguments& a, int column, int row, Vector* memory) {
    Window w = {tile_at(a, column, row)};
    w.y = w.first_row << a.halvings;
    w.first_byte = (w.first_column << a.halvings) * a.step & ~15;
    w.row_bytes = ((((w.first_column + w.columns) << a.halvings) * a.step + 15) & ~15) - w.first_byte;
    w.luma_rows = w.rows << a.halvings;
    w.chroma_rows = a.chroma_row ? (w.y + w.luma_rows - 1) / 2 - w.y / 2 + 1 : 0;
    w.bytes = (byte*)memory;
    w.halved = (unsigned*)(w.bytes + (w.luma_rows + w.chroma_rows) * w.row_bytes);
    return w;
}

// The i-th word of the window, row by row.
HD void load_bytes(const PrepareArguments& a, const Window& w, int i) {
    const int words = w.row_bytes / 16, line = i / words;
    const int row = line < w.luma_rows ? w.y + line : a.chroma_row + w.y / 2 + line - w.luma_rows;
    ((Vector*)w.bytes)[i] = load_vector(a.image + (long long)row * a.pitch + w.first_byte + 16 * (i - line * words));
}

struct Rgb { int r, g, b; };

HD int saturate(int value) { return value < 0 ? 0 : value > 255 ? 255 : value; }

// ITU-R BT.601, limited range, in the fixed point of OpenCV's cvtColor (imgproc/color_yuv.simd.hpp).
HD Rgb from_yuv(int y, int u, int v) {
    y = (y > 16 ? y - 16 : 0) * 1220542 + (1 << 19);
    u -= 128, v -= 128;
    return {saturate((y + 1673527 * v) >> 20), saturate((y - 852492 * v - 409993 * u) >> 20),
            saturate((y + 2116026 * u) >> 20)};
}

// One pixel of the camera's image halved HALVINGS times: the mean of 2x2, rounded each time.
template <int HALVINGS>
HD Rgb halved(const PrepareArguments& a, const Window& w, int x, int y) {
    if constexpr (HALVINGS == 0) {
        const byte* row = w.bytes + (y - w.y) * w.row_bytes - w.first_byte;
        const byte* p = row + x * a.step;
        if (!a.yuv) return {p[a.at[0]], p[a.at[1]], p[a.at[2]]};
        if (a.chroma_row) row = w.bytes + (w.luma_rows + y / 2 - w.y / 2) * w.row_bytes - w.first_byte;
        const byte* pair = row + (x & ~1) * a.step;
        return from_yuv(p[a.at[0]], pair[a.at[1]], pair[a.at[2]]);
    } else {
        Rgb sum = {2, 2, 2};
#pragma unroll(HALVINGS > 1 ? 1 : 4)
        for (int i = 0; i < 4; ++i) {
            const Rgb p = halved<HALVINGS - 1>(a, w, 2 * x + (i & 1), 2 * y + (i >> 1));
            sum.r += p.r, sum.g += p.g, sum.b += p.b;
        }
        return {sum.r >> 2, sum.g >> 2, sum.b >> 2};
    }
}

// The i-th pixel of the halved image that the window holds.
HD void halve_pixel(const PrepareArguments& a, const Window& w, int i) {
    const int x = w.first_column + i % w.columns, y = w.first_row + i / w.columns;
    const Rgb p = a.halvings == 0 ? halved<0>(a, w, x, y) : a.halvings == 1 ? halved<1>(a, w, x, y)
                : a.halvings == 2 ? halved<2>(a, w, x, y) : halved<3>(a, w, x, y);  // the same for all threads
    w.halved[i] = p.r | p.g << 8 | p.b << 16;
}

// One colour between four pixels. OpenCV's INTER_LINEAR for uint8: 11 bits of weight both ways, rounded as its vertical
// pass does.
HD unsigned blend(const unsigned* p, int right, int below, Tap column, Tap row, int shift) {
    const int fx = column.weight, fy = row.weight;
    const int upper = (p[0] >> shift & 255) * (2048 - fx) + (p[right] >> shift & 255) * fx;
    const int lower = (p[below] >> shift & 255) * (2048 - fx) + (p[below + right] >> shift & 255) * fx;
    return byte_to_half(((((2048 - fy) * (upper >> 4)) >> 16) + ((fy * (lower >> 4)) >> 16) + 2) >> 2);
}

// The i-th pixel of the tile.
HD void prepare_pixel(const PrepareArguments& a, const Window& w, int i) {
    const int x = w.left + i % (w.right - w.left), y = w.top + i / (w.right - w.left);
    const Tap column = a.columns[x], row = a.rows[y];
    const int right = column.lower + 1 < a.source_width ? 1 : 0;
    const int below = row.lower + 1 < a.source_height ? w.columns : 0;
    const unsigned* p = w.halved + (row.lower - w.first_row) * w.columns + column.lower - w.first_column;
    a.pixels[(long long)y * a.width + x] = {{blend(p, right, below, column, row, 0)
                                             | blend(p, right, below, column, row, 8) << 16,
                                             blend(p, right, below, column, row, 16), 0, 0}};
}

// ---- after the network: logits -> class, label, confidence (see core/decode.py for what and why) ----

// Cells between two tiles are described by both: that costs less than a second kernel, and what it describes never
// leaves the chip.

struct DecodeArguments {
    const half_bits* logits;        // (source_height, source_width, channels)
    const byte* group_of_class;
    const float* mean;              // trust statistics by class
    const float* deviation;
    const Place* columns;           // `width` of them
    const Place* rows;              // `height` of them
    byte* classes_out;              // (height, width)
    byte* labels_out;
    byte* confidence_out;
    const byte* ticket;             // of this frame, 1..254: came in with its pixels, goes out with its results
    byte* reports;                  // one a tile: the ticket, or NOT_FINITE
    float temperature;
    float trust_limit;              // -INFINITY: everything is trusted
    int classes, channels;          // channels: classes, padded to a multiple of 8
    int source_width, source_height;  // of the grid of cells
    int width, height;              // of the results
    int tile_width, tile_height;
};

// A tile, and the cells around its pixels.
struct Cells : Tile {
    int count;
    int stride;       // from one cell's logits to the next one's
    float* logits;    // (count, stride)
    float* group;     // (count, GROUPS), probabilities
    float* trust;     // (count)
    byte* class_id;   // (count)
};

HD Cells cells_at(const DecodeArguments& a, int column, int row, Vector* memory) {
    Cells t = {tile_at(a, column, row)};
    t.count = t.columns * t.rows;
    t.stride = a.classes | 1;  // odd: neighbouring cells lie in different banks
    t.logits = (float*)memory;
    t.group = t.logits + t.count * t.stride;
    t.trust = t.group + t.count * GROUPS;
    t.class_id = (byte*)(t.trust + t.count);
    return t;
}

// The i-th of the words that hold the logits of the tile's cells, 8 in each.
HD void load_logits(const DecodeArguments& a, const Cells& t, int i) {
    const int words = a.channels / 8, cell = i / words, first = i % words * 8;
    const int row = t.first_row + cell / t.columns, column = t.first_column + cell % t.columns;
    const Vector v = load_vector(a.logits + ((long long)row * a.source_width + column) * a.channels + first);
    for (int k = 0; k < smaller(8, a.classes - first); ++k)
        t.logits[cell * t.stride + first + k] = from_half(half_of(v, k));
}

// Whether the i-th of all words holds numbers; what pads the classes may be anything.
HD bool numbers(const DecodeArguments& a, int i) {
    const Vector v = load_vector(a.logits + (long long)i * 8);
    const int count = smaller(8, a.classes - i % (a.channels / 8) * 8);
    bool finite = true;
    for (int k = 0; k < count; ++k) finite = finite && (half_of(v, k) & 0x7C00) != 0x7C00;
    return finite;
}

HD void describe_cell(const DecodeArguments& a, const Cells& t, int cell) {
    const float* logits = t.logits + cell * t.stride;
    int best = 0;
    for (int k = 1; k < a.classes; ++k) best = logits[k] > logits[best] ? k : best;
    const float highest = logits[best], inverse = 1.0f / a.temperature;
    float group[GROUPS] = {}, total = 0.0f;
    for (int k = 0; k < a.classes; ++k) {
        const float share = expf((logits[k] - highest) * inverse);
        const int mine = a.group_of_class[k];
        for (int g = 0; g < GROUPS; ++g) group[g] += g == mine ? share : 0.0f;  // keeps `group` in registers
        total += share;
    }
    const float scale = 1.0f / total;
    for (int g = 0; g < GROUPS; ++g) t.group[cell * GROUPS + g] = group[g] * scale;
    t.class_id[cell] = (byte)best;
    t.trust[cell] = (highest + a.temperature * logf(total) - a.mean[best]) / a.deviation[best];
}

// The four cells around a pixel, and what pixels between them share.
struct Corners {
    int cell[4];            // upper left, upper right, lower left, lower right
    int shared_class;       // -1 where the corners differ
    float probability[4];   // of the shared class's group
    float trust[4];
};

HD void look_up(const DecodeArguments& a, const Cells& t, int class_id, const int* cell, float* probability) {
    const int group = a.group_of_class[class_id];
    for (int i = 0; i < 4; ++i) probability[i] = t.group[cell[i] * GROUPS + group];
}

// column, row: of the upper left cell, in the whole grid.
HD Corners corners(const DecodeArguments& a, const Cells& t, int column, int row) {
    const int right = column + 1 < a.source_width ? 1 : 0, below = row + 1 < a.source_height ? t.columns : 0;
    const int first = (row - t.first_row) * t.columns + column - t.first_column;
    Corners c = {{first, first + right, first + below, first + below + right}, t.class_id[first]};
    look_up(a, t, c.shared_class, c.cell, c.probability);
    for (int i = 0; i < 4; ++i) {
        c.trust[i] = t.trust[c.cell[i]];
        if (t.class_id[c.cell[i]] != t.class_id[first]) c.shared_class = -1;
    }
    return c;
}

HD float mix(const float* corner, float fx, float fy) {
    const float upper = (1.0f - fx) * corner[0] + fx * corner[1];
    const float lower = (1.0f - fx) * corner[2] + fx * corner[3];
    return (1.0f - fy) * upper + fy * lower;
}

// The argmax of the interpolated logits, the lowest id on a tie.
HD int mixed_class(const DecodeArguments& a, const Cells& t, const Corners& c, float fx, float fy) {
    int best = 0;
    float highest = 0.0f;
    for (int k = 0; k < a.classes; ++k) {
        float logit[4];
        for (int i = 0; i < 4; ++i) logit[i] = t.logits[c.cell[i] * t.stride + k];
        const float value = mix(logit, fx, fy);
        if (k == 0 || value > highest) best = k, highest = value;
    }
    return best;
}

// The i-th strip of the tile: neighbouring threads write neighbouring pixels.
HD void decode_strip(const DecodeArguments& a, const Cells& t, int i) {
    const int across = t.right - t.left, x = t.left + i % across, top = t.top + i / across * STRIP;
    const Place column = a.columns[x];
    Corners c = {};
    for (int y = top, looked_up = -1; y < smaller(top + STRIP, t.bottom); ++y) {
        const Place row = a.rows[y];
        if (row.lower != looked_up) {
            looked_up = row.lower;
            c = corners(a, t, column.lower, row.lower);
        }
        int best = c.shared_class;
        float probability = mix(c.probability, column.weight, row.weight);
        if (best < 0) {
            best = mixed_class(a, t, c, column.weight, row.weight);
            float mixed[4];
            look_up(a, t, best, c.cell, mixed);
            probability = mix(mixed, column.weight, row.weight);
        }
        const bool trusted = mix(c.trust, column.weight, row.weight) >= a.trust_limit;
        const long long at = (long long)y * a.width + x;
        a.classes_out[at] = (byte)best;
        a.labels_out[at] = trusted ? a.group_of_class[best] : UNKNOWN;
        a.confidence_out[at] = (byte)(int)(probability * 255.0f + 0.5f);
    }
}

// ---- the kernels: blocks of one row of threads, any number of them; one block a tile ----

extern __shared__ Vector memory[];

extern "C" __global__ void prepare(PrepareArguments a) {
    const int thread = threadIdx.x, threads = blockDim.x;
    const Window w = window_at(a, blockIdx.x, blockIdx.y, memory);

    for (int i = thread; i < (w.luma_rows + w.chroma_rows) * w.row_bytes / 16; i += threads) load_bytes(a, w, i);
    __syncthreads();

    for (int i = thread; i < w.columns * w.rows; i += threads) halve_pixel(a, w, i);
    __syncthreads();

    for (int i = thread; i < (w.right - w.left) * (w.bottom - w.top); i += threads) prepare_pixel(a, w, i);
}

extern "C" __global__ void decode(DecodeArguments a) {
    const int thread = threadIdx.x, threads = blockDim.x;
    const int block = blockIdx.y * gridDim.x + blockIdx.x, blocks = gridDim.x * gridDim.y;
    const Cells t = cells_at(a, blockIdx.x, blockIdx.y, memory);

    for (int i = thread; i < t.count * a.channels / 8; i += threads) load_logits(a, t, i);
    // All blocks together look at every logit: where there are fewer pixels than cells, some cells are in no tile's.
    bool finite = true;
    const int words = a.source_height * a.source_width * a.channels / 8;
    for (int i = block * threads + thread; i < words; i += blocks * threads) finite = finite && numbers(a, i);
    const bool overflow = __syncthreads_or(!finite);

    for (int i = thread; i < t.count; i += threads) describe_cell(a, t, i);
    __syncthreads();

    const int strips = (t.right - t.left) * ((t.bottom - t.top + STRIP - 1) / STRIP);
    for (int i = thread; i < strips; i += threads) decode_strip(a, t, i);
    if (thread == 0) a.reports[block] = overflow ? NOT_FINITE : *a.ticket;
}
