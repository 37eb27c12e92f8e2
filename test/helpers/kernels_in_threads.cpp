// kernels.cu with a real thread for each of a block's, for ThreadSanitizer: a word of shared memory that two threads use
// without a barrier between them is reported. `kernels_in_threads MUTANT`: 0 as it is, 1 without prepare's barriers, 2
// without decode's plain one; both must be reported.
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include <atomic>
#include <thread>
#include <vector>

#include "on_host.h"

static thread_local Index blockIdx, threadIdx;
static Index blockDim, gridDim;
static pthread_barrier_t barrier;
static bool without_barriers = false;
static std::atomic<bool> vote;

static void wait() { pthread_barrier_wait(&barrier); }
static void __syncthreads() {
    if (!without_barriers) wait();
}
static bool __syncthreads_or(bool mine) {
    if (mine) vote = true;
    wait();
    const bool verdict = vote;
    wait();
    if (threadIdx.x == 0) vote = false;
    return verdict;
}

#include "kernels.cu"

Vector memory[(48 << 10) / sizeof(Vector)];

template <class Arguments>
static void run(void (*kernel)(Arguments), const Arguments& a, Index blocks, unsigned threads) {
    gridDim = blocks, blockDim = {threads, 1};
    pthread_barrier_init(&barrier, nullptr, threads);
    for (unsigned y = 0; y < blocks.y; ++y)
        for (unsigned x = 0; x < blocks.x; ++x) {
            std::vector<std::thread> all;
            for (unsigned t = 0; t < threads; ++t)
                all.emplace_back([=] {
                    blockIdx = {x, y}, threadIdx = {t, 0};
                    kernel(a);
                });
            for (std::thread& thread : all) thread.join();
        }
    pthread_barrier_destroy(&barrier);
}

int main(int, char** argv) {
    const int mutant = atoi(argv[1]);
    const int width = 64, height = 16, image_width = 192, image_height = 64, halvings = 1;
    std::vector<uint8_t> image(3 * image_width * image_height, 99), group(16, 1);
    std::vector<Tap> columns, rows;
    for (int i = 0; i < width; ++i) columns.push_back({i * (image_width >> halvings) / width, 700});
    for (int i = 0; i < height; ++i) rows.push_back({i * (image_height >> halvings) / height, 700});
    std::vector<Vector> pixels(width * height);
    PrepareArguments p = {image.data(), columns.data(), rows.data(), pixels.data(), 3 * image_width, 3, {2, 1, 0}, 0, 0,
                          halvings, image_width >> halvings, image_height >> halvings, width, height, 64, 8};
    without_barriers = mutant == 1;
    run(prepare, p, {1, 2}, 32);

    const int grid_width = 8, grid_height = 4, classes = 11, channels = 16;
    std::vector<Vector> logits(grid_width * grid_height * channels / 8, {{0x3C003800, 0x34004000, 0x3C003C00, 0}});
    std::vector<float> mean(16, 0.0f), deviation(16, 1.0f);
    std::vector<Place> places_x, places_y;
    for (int i = 0; i < width; ++i) places_x.push_back({i * (grid_width - 1) / width, 0.5f});
    for (int i = 0; i < height; ++i) places_y.push_back({i * (grid_height - 1) / height, 0.5f});
    std::vector<uint8_t> results(3 * width * height), reports(2);
    const uint8_t ticket = 7;
    DecodeArguments d = {(half_bits*)logits.data(), group.data(), mean.data(), deviation.data(), places_x.data(),
                         places_y.data(), &results[0], &results[width * height], &results[2 * width * height], &ticket,
                         reports.data(), 1.0f, 0.0f, classes, channels, grid_width, grid_height, width, height, 64, 8};
    without_barriers = mutant == 2;
    run(decode, d, {1, 2}, 32);
    return reports[0] == ticket && reports[1] == ticket ? 0 : 1;
}
