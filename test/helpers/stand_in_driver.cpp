// A CUDA driver without a GPU, for tests: libcuda.so.1 for real pycuda and real cuda-bindings. Contexts are stacked by
// thread; streams do nothing until they are waited for; captures become graphs; kernels are the host build of our own.
// It is stricter than a driver where ours may be: no default stream, no copy of pageable memory within a capture.
// stand_in_* below make calls fail, and count what was not given back.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

extern "C" size_t arguments_of(const char* name);
extern "C" int launch(const char*, unsigned, unsigned, unsigned, unsigned, const void*, size_t);

typedef int Result;
typedef uint64_t Address;
enum {
    SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201, INVALID_HANDLE = 400, ILLEGAL_STATE = 401, NOT_FOUND = 500, NOT_READY = 600,
    ILLEGAL_ADDRESS = 700, CONTEXT_IS_DESTROYED = 709, LAUNCH_FAILED = 719, NOT_SUPPORTED = 801,
    CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901,
};

typedef std::function<Result()> Work;
struct Context { int retained = 0; };
struct Stream { std::vector<Work> queue, captured; bool capturing = false, broken = false; unsigned flags = 0; };
struct Graph { std::vector<Work> work; };
struct Event { double at = 0; bool recorded = false, done = false; unsigned flags = 0; };
struct Module {};
struct Function { std::string name; };

static std::recursive_mutex mutex;
static Context primary;
static thread_local std::vector<Context*> stack;
static std::map<char*, size_t> device_memory, host_memory;
static std::set<Stream*> streams;
static std::set<Event*> events;
static std::set<Module*> modules;
static std::set<Graph*> graphs, executables;
static std::map<std::string, Function> functions;
static bool initialised = false;
static Result sticky = SUCCESS;          // an error that every later call gives, as after a lost context
static std::map<std::string, long> calls;
static std::string failing;
static long failing_at = 0;
static Result failing_with = SUCCESS;

static Result entered(const char* function, bool needs_context) {
    ++calls[function];
    if (!strcmp(function, "cuCtxPopCurrent_v2")) return initialised ? SUCCESS : NOT_INITIALIZED;  // it never fails
    if (failing_at && (failing.empty() || failing == function) && --failing_at == 0) return failing_with;
    if (!initialised) return NOT_INITIALIZED;
    if (!needs_context) return SUCCESS;
    if (stack.empty() || !stack.back()) return INVALID_CONTEXT;
    return primary.retained ? sticky : CONTEXT_IS_DESTROYED;
}

#define CALL(NAME, ...)                                            \
    extern "C" __attribute__((visibility("default"))) Result NAME(__VA_ARGS__)
#define ENTER(NEEDS_CONTEXT)                                       \
    std::lock_guard<std::recursive_mutex> guard(mutex);            \
    if (Result failed = entered(__func__, NEEDS_CONTEXT)) return failed
// What gives things back does so even if it returns an error, which is one of an earlier call.
#define ENTER_RELEASE                                              \
    std::lock_guard<std::recursive_mutex> guard(mutex);            \
    const Result earlier = entered(__func__, false)

static double now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

static Result drain(Stream* s) {
    if (s->capturing) {
        s->broken = true;
        return CAPTURE_UNSUPPORTED;
    }
    std::vector<Work> queue;
    queue.swap(s->queue);
    for (Work& work : queue)
        if (Result failed = work()) return sticky = failed;
    return SUCCESS;
}

static Result put(Stream* s, Work work) {
    if (!streams.count(s)) return INVALID_HANDLE;  // the default stream too
    (s->capturing ? s->captured : s->queue).push_back(work);
    return SUCCESS;
}

static bool within(const std::map<char*, size_t>& memory, const void* p, size_t n) {
    auto found = memory.upper_bound((char*)p);
    if (found == memory.begin()) return false;
    --found;
    return (char*)p + n <= found->first + found->second;
}

static Result copied(Stream* s, void* to, const void* from, size_t n, const void* host) {
    const Work copy = [=] { memcpy(to, from, n); return SUCCESS; };
    if (host && !within(host_memory, host, n)) {  // pageable: the driver waits
        if (!streams.count(s)) return INVALID_HANDLE;
        if (Result failed = drain(s)) return failed;
        return copy();
    }
    return put(s, copy);
}

// ---- device and context ----

CALL(cuInit, unsigned) { initialised = true; std::lock_guard<std::recursive_mutex> guard(mutex); return entered(__func__, false); }
CALL(cuDriverGetVersion, int* version) { *version = 12060; return SUCCESS; }
CALL(cuGetExportTable, const void** table, const void*) { *table = nullptr; return NOT_FOUND; }  // NVRTC 13 asks
CALL(cuDeviceGetCount, int* n) { ENTER(false); *n = 1; return SUCCESS; }
CALL(cuDeviceGet, int* device, int i) { ENTER(false); *device = 0; return i ? INVALID_VALUE : SUCCESS; }
CALL(cuDeviceGetName, char* name, int n, int) { ENTER(false); snprintf(name, n, "Stand-in"); return SUCCESS; }
CALL(cuDeviceTotalMem_v2, size_t* n, int) { ENTER(false); *n = 64 << 20; return SUCCESS; }
CALL(cuDeviceGetPCIBusId, char* id, int n, int) { ENTER(false); snprintf(id, n, "0000:00:00.0"); return SUCCESS; }
CALL(cuDeviceComputeCapability, int* major, int* minor, int) { *major = 8; *minor = 7; return SUCCESS; }
CALL(cuDeviceGetAttribute, int* value, int attribute, int) {
    ENTER(false);
    static const std::map<int, int> known = {{16, 16}, {18, 1}, {38, 4 << 20}, {75, 8}, {76, 7}};
    *value = known.count(attribute) ? known.at(attribute) : 0;
    return SUCCESS;
}
CALL(cuDevicePrimaryCtxRetain, Context** context, int) { ENTER(false); ++primary.retained; *context = &primary; return SUCCESS; }
CALL(cuDevicePrimaryCtxRelease_v2, int) { ENTER_RELEASE; return primary.retained ? (--primary.retained, earlier) : INVALID_CONTEXT; }
CALL(cuCtxPushCurrent_v2, Context* context) {
    ENTER(false);
    if (!context || !primary.retained) return INVALID_CONTEXT;
    stack.push_back(context);
    return SUCCESS;
}
CALL(cuCtxPopCurrent_v2, Context** context) {
    ENTER(false);
    if (stack.empty()) return INVALID_CONTEXT;
    if (context) *context = stack.back();
    stack.pop_back();
    return SUCCESS;
}
CALL(cuCtxGetCurrent, Context** context) { ENTER(false); *context = stack.empty() ? nullptr : stack.back(); return SUCCESS; }
CALL(cuCtxGetDevice, int* device) { ENTER(true); *device = 0; return SUCCESS; }
CALL(cuCtxGetApiVersion, Context*, unsigned* version) { *version = 12060; return SUCCESS; }

// ---- memory ----

CALL(cuMemGetInfo_v2, size_t* free, size_t* total) { ENTER(true); *total = 8000000000; *free = 6000000000; return SUCCESS; }
static Result allocated(std::map<char*, size_t>& memory, void** p, size_t n) {
    if (!n) return INVALID_VALUE;
    *p = aligned_alloc(512, (n + 511) / 512 * 512);
    memset(*p, 0xA5, n);
    memory[(char*)*p] = n;
    return SUCCESS;
}
static Result freed(std::map<char*, size_t>& memory, void* p) {
    for (Stream* s : streams)
        if (!s->capturing) drain(s);  // the driver waits
    if (!memory.erase((char*)p)) return INVALID_VALUE;
    free(p);
    return SUCCESS;
}
CALL(cuMemAlloc_v2, Address* p, size_t n) { ENTER(true); return allocated(device_memory, (void**)p, n); }
CALL(cuMemFree_v2, Address p) { ENTER_RELEASE; const Result result = freed(device_memory, (void*)p); return result ? result : earlier; }
CALL(cuMemHostAlloc, void** p, size_t n, unsigned) { ENTER(true); return allocated(host_memory, p, n); }
CALL(cuMemFreeHost, void* p) { ENTER_RELEASE; const Result result = freed(host_memory, p); return result ? result : earlier; }
CALL(cuMemcpyHtoDAsync_v2, Address to, const void* from, size_t n, Stream* s) {
    ENTER(true);
    return within(device_memory, (void*)to, n) ? copied(s, (void*)to, from, n, from) : INVALID_VALUE;
}
CALL(cuMemcpyDtoHAsync_v2, void* to, Address from, size_t n, Stream* s) {
    ENTER(true);
    return within(device_memory, (void*)from, n) ? copied(s, to, (void*)from, n, to) : INVALID_VALUE;
}
CALL(cuMemcpyDtoDAsync_v2, Address to, Address from, size_t n, Stream* s) {
    ENTER(true);
    if (!within(device_memory, (void*)from, n) || !within(device_memory, (void*)to, n)) return INVALID_VALUE;
    return copied(s, (void*)to, (void*)from, n, nullptr);
}
CALL(cuMemsetD8Async, Address to, unsigned char byte, size_t n, Stream* s) {
    ENTER(true);
    if (!within(device_memory, (void*)to, n)) return INVALID_VALUE;
    return put(s, [=] { memset((void*)to, byte, n); return SUCCESS; });
}

// ---- streams, events, graphs ----

CALL(cuStreamCreate, Stream** s, unsigned flags) { ENTER(true); *s = new Stream; (*s)->flags = flags; streams.insert(*s); return SUCCESS; }
CALL(cuStreamDestroy_v2, Stream* s) {
    ENTER_RELEASE;
    if (!streams.count(s)) return INVALID_HANDLE;
    drain(s);
    streams.erase(s);
    delete s;
    return earlier;
}
CALL(cuStreamSynchronize, Stream* s) { ENTER(true); return streams.count(s) ? drain(s) : INVALID_HANDLE; }
CALL(cuEventCreate, Event** e, unsigned flags) { ENTER(true); events.insert(*e = new Event); (*e)->flags = flags; return SUCCESS; }
CALL(cuEventDestroy_v2, Event* e) {
    ENTER_RELEASE;
    for (Stream* s : streams)
        if (!s->capturing) drain(s);
    if (!events.erase(e)) return INVALID_HANDLE;
    delete e;
    return earlier;
}
CALL(cuEventRecord, Event* e, Stream* s) {
    ENTER(true);
    if (!events.count(e)) return INVALID_HANDLE;
    e->recorded = true, e->done = false;
    return put(s, [=] { e->at = now(), e->done = true; return SUCCESS; });
}
CALL(cuEventSynchronize, Event* e) {
    ENTER(true);
    for (Stream* s : streams)
        if (!s->capturing)
            if (Result failed = drain(s)) return failed;
    return e->done || !e->recorded ? SUCCESS : CAPTURE_UNSUPPORTED;
}
static Result elapsed(float* ms, Event* start, Event* end) {
    if (!start->recorded || !end->recorded) return INVALID_HANDLE;
    *ms = (float)(end->at - start->at);
    return start->done && end->done ? SUCCESS : NOT_READY;
}
CALL(cuEventElapsedTime, float* ms, Event* start, Event* end) { ENTER(true); return elapsed(ms, start, end); }
CALL(cuEventElapsedTime_v2, float* ms, Event* start, Event* end) { ENTER(true); return elapsed(ms, start, end); }
CALL(cuStreamBeginCapture_v2, Stream* s, int) {
    ENTER(true);
    if (!streams.count(s)) return INVALID_HANDLE;
    if (s->capturing) return ILLEGAL_STATE;
    s->capturing = true, s->broken = false;
    s->captured.clear();
    return SUCCESS;
}
CALL(cuStreamEndCapture, Stream* s, Graph** graph) {
    *graph = nullptr;
    ENTER(true);
    if (!s->capturing) return ILLEGAL_STATE;
    s->capturing = false;
    if (s->broken) return CAPTURE_INVALIDATED;
    graphs.insert(*graph = new Graph{s->captured});
    return SUCCESS;
}
CALL(cuGraphInstantiateWithFlags, Graph** executable, Graph* graph, unsigned long long) {
    ENTER(true);
    if (!graphs.count(graph)) return INVALID_HANDLE;
    executables.insert(*executable = new Graph(*graph));
    return SUCCESS;
}
CALL(cuGraphDestroy, Graph* graph) { ENTER_RELEASE; if (!graphs.erase(graph)) return INVALID_HANDLE; delete graph; return earlier; }
CALL(cuGraphExecDestroy, Graph* graph) { ENTER_RELEASE; if (!executables.erase(graph)) return INVALID_HANDLE; delete graph; return earlier; }
CALL(cuGraphLaunch, Graph* graph, Stream* s) {
    ENTER(true);
    if (!executables.count(graph)) return INVALID_HANDLE;
    for (Work& work : graph->work)
        if (Result failed = put(s, work)) return failed;
    return SUCCESS;
}

// ---- kernels ----

CALL(cuModuleLoadDataEx, Module** module, const char* image, unsigned, void*, void*) {
    ENTER(true);
    const char* refused = getenv("STAND_IN_REFUSES");  // "cubin", "ptx" or both
    const bool cubin = !memcmp(image, "\x7f" "ELF", 4);
    if (!cubin && memcmp(image, "//", 2)) return INVALID_IMAGE;
    if (refused && strstr(refused, cubin ? "cubin" : "ptx")) return INVALID_IMAGE;
    modules.insert(*module = new Module);
    return SUCCESS;
}
CALL(cuModuleLoadData, Module** module, const char* image) { return cuModuleLoadDataEx(module, image, 0, nullptr, nullptr); }
CALL(cuModuleUnload, Module* module) { ENTER_RELEASE; if (!modules.erase(module)) return INVALID_HANDLE; delete module; return earlier; }
CALL(cuModuleGetFunction, Function** function, Module* module, const char* name) {
    ENTER(true);
    if (!modules.count(module)) return INVALID_HANDLE;
    if (!arguments_of(name)) return NOT_FOUND;
    functions[name].name = name;
    *function = &functions[name];
    return SUCCESS;
}
CALL(cuFuncSetBlockShape, Function*, int, int, int) { return SUCCESS; }
CALL(cuFuncGetAttribute, int* value, int, Function*) { *value = 0; return SUCCESS; }
CALL(cuLaunchKernel, Function* function, unsigned across, unsigned down, unsigned deep, unsigned threads, unsigned y,
     unsigned z, unsigned shared, Stream* s, void** parameters, void** extra) {
    ENTER(true);
    if (deep != 1 || y != 1 || z != 1 || !across || !down || down > 65535 || !threads || threads > 1024 ||
        shared > 48 << 10)
        return INVALID_VALUE;
    size_t n = arguments_of(function->name.c_str());
    const void* arguments = parameters ? parameters[0] : nullptr;
    for (void** e = extra; !parameters && e && *e; e += 2)  // CU_LAUNCH_PARAM_BUFFER_POINTER, _SIZE, _END
        if (*e == (void*)1) arguments = e[1];
        else if (*e == (void*)2) n = *(size_t*)e[1];
    if (!arguments) return INVALID_VALUE;
    const std::string bytes((const char*)arguments, n), name = function->name;
    return put(s, [=] {
        const int failed = launch(name.c_str(), across, down, threads, shared, bytes.data(), bytes.size());
        if (failed) fprintf(stderr, "stand-in: kernel %s: %d\n", name.c_str(), failed);
        return failed ? LAUNCH_FAILED : SUCCESS;
    });
}

// ---- names ----

CALL(cuGetErrorName, Result result, const char** name) {
    static const std::map<Result, const char*> names = {
        {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"}, {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
        {NO_DEVICE, "CUDA_ERROR_NO_DEVICE"}, {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
        {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"}, {CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"},
    };
    const auto found = names.find(result);
    *name = found == names.end() ? "CUDA_ERROR_OTHER" : found->second;
    return SUCCESS;
}
CALL(cuGetErrorString, Result result, const char** text) { return cuGetErrorName(result, text); }
CALL(cuGetProcAddress_v2, const char* name, void** function, int, uint64_t, int* found) {
    static void* self = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    *function = nullptr;
    for (const char* suffix : {"_v2", "", "WithFlags"})
        if (!*function) *function = dlsym(self, (std::string(name) + suffix).c_str());
    if (found) *found = *function ? 0 : 1;
    return *function ? SUCCESS : NOT_FOUND;
}

// ---- for the tests ----

#define CONTROL extern "C" __attribute__((visibility("default")))

// The n-th call of a function from now on (of any for "") gives an error instead of what it should do; n = 0: none does.
CONTROL void stand_in_fail(const char* function, long n, Result with) { failing = function, failing_at = n, failing_with = with; }
CONTROL int stand_in_failed() { return failing_at == 0; }
// Every later call in a context gives this error.
CONTROL void stand_in_break(Result with) { sticky = with; }
// What a library of NVIDIA's would do on a stream.
CONTROL Result stand_in_enqueue(Stream* s, void (*work)()) { return put(s, [=] { work(); return SUCCESS; }); }
CONTROL long stand_in_calls(const char* function) {
    long all = 0;
    for (auto& entry : calls)
        if (!*function || entry.first == function) all += entry.second;
    return all;
}
// What was taken and not given back.
CONTROL void stand_in_report();
CONTROL long stand_in_live() {
    return device_memory.size() + host_memory.size() + streams.size() + events.size() + modules.size() + graphs.size() +
           executables.size() + primary.retained + stack.size();
}
CONTROL unsigned stand_in_stream_flags() { return streams.empty() ? 0 : (*streams.begin())->flags; }
CONTROL unsigned stand_in_event_flags() { return events.empty() ? 0 : (*events.begin())->flags; }

__attribute__((destructor)) static void at_end() {
    if (getenv("STAND_IN_REPORTS")) stand_in_report();
}
CONTROL void stand_in_report() {
    fprintf(stderr, "stand-in: %zu device and %zu host buffers, %zu streams, %zu events, %zu modules, %zu graphs, %d contexts left\n",
            device_memory.size(), host_memory.size(), streams.size(), events.size(), modules.size(),
            graphs.size() + executables.size(), primary.retained);
}
