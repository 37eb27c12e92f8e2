// What kernels.cu is built with for a processor, in place of what a GPU's compiler has. LOADED(from) may be set before.
#pragma once
#include <math.h>
#include <stdint.h>

#define ON_HOST
#define HD inline
#define __global__
#define __shared__
#ifndef LOADED
#define LOADED(from)
#endif

struct Index { unsigned x, y; };

static inline float from_half(uint16_t bits) {
    const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
    float value;
    if (exponent == 31) value = fraction ? NAN : INFINITY;
    else if (exponent == 0) value = ldexpf((float)fraction, -24);
    else value = ldexpf((float)(fraction | 1024), exponent - 25);
    return bits & 0x8000 ? -value : value;
}

static inline uint16_t byte_to_half(int value) {
    if (value == 0) return 0;
    int exponent = 0;
    while ((value >> exponent) > 1) ++exponent;
    return (uint16_t)(((exponent + 15) << 10) | ((value << (10 - exponent)) & 1023));
}
