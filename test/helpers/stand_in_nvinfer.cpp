// libnvinfer without TensorRT, for its real Python bindings: one network of one layer, from `image` (1, 3, 96, 160) to
// `logits` (1, 5, 24, 40), which is built, loaded, and run on the stand-in CUDA driver's streams. MAJOR is TensorRT's
// version, COLOURS the RGB of each class: its logit is how near the mean of 4x4 pixels is to it, 0..255.
//
// The bindings call an object of TensorRT through the functions of its implementation, by their place among the virtual
// functions in NvInferImpl.h (of TensorRT 10.3 and 11.1). Any that is not in the table below ends the program.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "on_host.h"

struct Dims { int32_t count; int64_t d[8]; };

typedef void (*Function)();
struct Implementation { Function* functions; };
static int live = 0;

struct Object {  // as INoCopy: what Python holds and deletes
    Implementation* implementation;
    explicit Object(Implementation* i) : implementation(i) { ++live; }
    virtual ~Object() { --live; }
};

struct Entry { int in_10, in_11; Function function; };

#define F(function) (Function)(function)

static void missing() {
    fprintf(stderr, "stand-in: a function of TensorRT that is not in the table was called\n");
    abort();
}

template <int N>
static Implementation* made_of(const Entry (&entries)[N]) {
    Function* functions = new Function[128];
    for (int i = 0; i < 128; ++i) functions[i] = missing;
    for (const Entry& e : entries) functions[MAJOR == 10 ? e.in_10 : e.in_11] = e.function;
    return new Implementation{functions};
}

// ---- what the Python side gives: interfaces of which these are called ----

static void* recorder = nullptr;
static void* monitor = nullptr;

template <class... Arguments>
static void call(void* object, int place, Arguments... arguments) {
    typedef bool (*Method)(void*, Arguments...);
    if (object) ((*(Method**)object)[place])(object, arguments...);
}

static void set_recorder(Implementation*, void* given) { recorder = given; }
static void set_monitor(Implementation*, void* given) { monitor = given; }
static void report(const char* text) { call(recorder, 9, 1, text); }

// ---- memory, tensors and their layer ----

static const char PLAN[] = "PLAN";
static const void* memory_data(Implementation*) { return PLAN; }
static size_t memory_size(Implementation*) { return sizeof PLAN; }
static int memory_type(Implementation*) { return 2; }  // INT8
static Object* new_memory(...) {
    static Implementation* all = made_of({{2, 2, F(memory_data)}, {3, 3, F(memory_size)}, {4, 4, F(memory_type)}});
    return new Object(all);
}

static const Dims IMAGE = {4, {1, 3, 96, 160}}, LOGITS = {4, {1, 5, 24, 40}};
static bool is_image(const char* name) { return !strcmp(name, "image"); }

struct Tensor : Implementation { const char* name; Object* object; bool hwc8; };
static const char* tensor_name(Tensor* t) { return t->name; }
static Dims tensor_shape(Tensor* t) { return is_image(t->name) ? IMAGE : LOGITS; }
static void tensor_reshape(Tensor*, const Dims* d) { if (memcmp(d->d, IMAGE.d, 4 * sizeof *d->d)) abort(); }
static int tensor_type(Tensor*) { return 1; }  // HALF
static void tensor_formats(Tensor* t, uint32_t formats) { t->hwc8 = formats == 1 << 2; }
static Tensor* tensor(const char* name) {
    static Function* functions = made_of({{3, 3, F(tensor_name)}, {5, 5, F(tensor_shape)}, {4, 4, F(tensor_reshape)},
                                          {7, 6, F(tensor_type)}, {19, 13, F(tensor_formats)}})->functions;
    static Tensor image = {{functions}, "image", new Object(&image), false};
    static Tensor logits = {{functions}, "logits", new Object(&logits), false};
    return is_image(name) ? &image : &logits;
}

static int layer_type(Implementation*) { return 0; }  // CONVOLUTION
static const char* layer_name(Implementation*) { return "nearest colour"; }
static int one(...) { return 1; }
static bool yes(...) { return true; }
static Object* network_input(...) { return tensor("image")->object; }
static Object* network_output(...) { return tensor("logits")->object; }
static Object* network_layer(...) {
    static Object layer(made_of({{2, 2, F(layer_type)}, {4, 4, F(layer_name)}, {7, 7, F(one)},
                                 {8, 8, F(network_output)}}));
    return &layer;
}

// ---- building ----

static Object* new_network(...) {
    static Implementation* all = made_of({{12, 12, F(one)}, {13, 13, F(network_layer)}, {14, 14, F(one)},
                                          {15, 15, F(network_input)}, {17, 17, F(network_output)}});
    return new Object(all);
}

static Object* new_timing_cache(...) {
    static Implementation* all = made_of({{2, 2, F(new_memory)}});
    return new Object(all);
}

static Object* kept_timing_cache(...) {
    static Object* kept = new_timing_cache();
    return kept;
}

static Object* new_config(...) {
    static Implementation* all = made_of({{47, 36, F(yes)}, {43, 32, F(yes)}, {27, 25, F(yes)}, {56, 45, F(set_monitor)},
                                          {40, 29, F(new_timing_cache)}, {41, 30, F(yes)},
                                          {42, 31, F(kept_timing_cache)}});
    return new Object(all);
}

static Object* build(Implementation*, Object*, Object*) {
    call(monitor, 4, "Building", (const char*)nullptr, 2);
    call(monitor, 5, "Building", 0);
    call(monitor, 6, "Building");
    return tensor("image")->hwc8 && tensor("logits")->hwc8 ? new_memory() : nullptr;
}

extern "C" void* createInferBuilder_INTERNAL(void*, int32_t) {
    return new Object(made_of({{8, 6, F(new_network)}, {7, 5, F(new_config)}, {14, 11, F(build)}}));
}

extern "C" void* createNvOnnxParser_INTERNAL(void*, void*, int) {
    static Function functions[32];  // `parse` comes first; of the others only the destructor is called
    for (Function& function : functions) function = F(yes);
    static Function* parser = functions;
    return &parser;
}

// ---- running ----

struct Context : Implementation { uint8_t *image, *logits; };
static Context* running;

static void run() {
    static const int colours[5][3] = COLOURS;
    const uint16_t* pixels = (const uint16_t*)running->image;
    for (int y = 0; y < 24; ++y)
        for (int x = 0; x < 40; ++x)
            for (int k = 0; k < 5; ++k) {
                int distance = 0;
                for (int c = 0; c < 3; ++c) {
                    int sum = 0;
                    for (int i = 0; i < 16; ++i)
                        sum += (int)from_half(pixels[((4 * y + i / 4) * 160 + 4 * x + i % 4) * 8 + c]);
                    distance += abs(sum / 16 - colours[k][c]);
                }
                ((uint16_t*)running->logits)[(y * 40 + x) * 8 + k] = byte_to_half(255 - distance / 3);
            }
}

static bool set_address(Context* c, const char* name, uint8_t* address) {
    (is_image(name) ? c->image : c->logits) = address;
    return true;
}

static bool enqueue(Context* c, void* stream) {
    typedef int (*Enqueue)(void*, void (*)());
    static Enqueue put = (Enqueue)dlsym(dlopen("libcuda.so.1", RTLD_LAZY), "stand_in_enqueue");
    running = c;
    return put(stream, run) == 0;
}

static Object* new_context(...) {
    static Function* functions = made_of({{24, 23, F(set_address)}, {37, 36, F(enqueue)},
                                          {14, 13, F(set_recorder)}})->functions;
    return new Object(new Context{{functions}, nullptr, nullptr});
}

static int two(...) { return 2; }
static const char* io_name(Implementation*, int i) { return i ? "image" : "logits"; }  // TensorRT promises no order
static int io_mode(Implementation*, const char* name) { return is_image(name) ? 1 : 2; }
static Dims io_shape(Implementation*, const char* name) { return is_image(name) ? IMAGE : LOGITS; }
static int io_format(Implementation*, const char*) { return 2; }  // HWC8

static Object* deserialize(Implementation*, const char* plan, size_t size) {
    if (size != sizeof PLAN || memcmp(plan, PLAN, size) || getenv("STAND_IN_REFUSES_PLANS")) {
        report("the plan is of\nanother GPU");
        return nullptr;
    }
    static Implementation* all = made_of({{30, 26, F(two)}, {31, 27, F(io_name)}, {23, 19, F(io_mode)},
                                          {19, 15, F(io_shape)}, {20, 16, F(one)}, {26, 22, F(io_format)},
                                          {5, 5, F(new_context)}, {13, 10, F(set_recorder)}});
    return new Object(all);
}

extern "C" void* createInferRuntime_INTERNAL(void*, int32_t) {
    return new Object(made_of({{3, 3, F(deserialize)}, {9, 8, F(set_recorder)}}));
}

// What the bindings ask for when they are imported.
extern "C" void* createInferRefitter_INTERNAL() { return nullptr; }
extern "C" void* createNvOnnxParserRefitter_INTERNAL() { return nullptr; }
extern "C" void* getBuilderPluginRegistry() { return nullptr; }
extern "C" void* getNvOnnxParserVersion() { return nullptr; }
extern "C" void* getPluginRegistry() { return nullptr; }
extern "C" void* initLibNvInferPlugins() { return nullptr; }

extern "C" int stand_in_objects() { return live; }
