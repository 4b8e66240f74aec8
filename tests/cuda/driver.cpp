// The functions of the driver that the device calls, over the host's memory: launches run the emulated kernels at once,
// so the stream is always done. Loaded by the device as if it were the driver.
//
// EMULATION in the environment makes it err, by words that blanks part:
//   version=11040       the version that it gives
//   devices=0           how many devices there are: usually one of compute capability 8.0, and one of 9.0
//   capability=75       their compute capability, times ten
//   sm_90a=222          loading PTX for sm_90a answers this code
//   idle_sm_90a=1       entries for sm_90a do nothing
//   memory=65536        bytes of memory that there are in all
//   cuInit=777          the function answers this code
//   cuLaunchKernel=719@3   from its third call on
#include "driver.hpp"

#include <algorithm>

using namespace driver;

State& driver::state() {
    static State* const all = new State;
    return *all;
}

thread_local int driver::current_context = -1;

namespace {

// Devices are numbered from 0, and so are their contexts.
constexpr int MOST_DEVICES = 8;
char contexts[MOST_DEVICES];

int devices(const State& s) { return std::min<int>(MOST_DEVICES, static_cast<int>(s.plan.number("devices", 2))); }

int capability(const State& s, int device) { return static_cast<int>(s.plan.number("capability", device == 0 ? 80 : 90)); }

} // namespace

extern "C" {

int cuInit(unsigned flags) {
    return call("cuInit", false, [&](State& s) {
        s.initialized = true;
        return flags == 0 ? SUCCESS : INVALID_VALUE;
    });
}

int cuDriverGetVersion(int* version) {
    return call("cuDriverGetVersion", false, [&](State& s) {
        *version = static_cast<int>(s.plan.number("version", 12000));
        return SUCCESS;
    });
}

int cuDeviceGetCount(int* count) {
    return call("cuDeviceGetCount", false, [&](State& s) {
        *count = devices(s);
        return SUCCESS;
    });
}

int cuDeviceGet(int* device, int index) {
    return call("cuDeviceGet", false, [&](State& s) {
        *device = index;
        return index >= 0 && index < devices(s) ? SUCCESS : INVALID_DEVICE;
    });
}

int cuDeviceGetName(char* name, int length, int) {
    return call("cuDeviceGetName", false, [&](State&) {
        std::snprintf(name, static_cast<std::size_t>(length), "Emulated CUDA device");
        return SUCCESS;
    });
}

int cuDeviceGetAttribute(int* value, int which, int device) {
    return call("cuDeviceGetAttribute", false, [&](State& s) {
        switch (which) {
        case 1: *value = 1024; return SUCCESS;               // threads of a block
        case 8: *value = 48 * 1024; return SUCCESS;          // shared memory of a block
        case 16: *value = 8; return SUCCESS;                 // multiprocessors
        case 75: *value = capability(s, device) / 10; return SUCCESS;
        case 76: *value = capability(s, device) % 10; return SUCCESS;
        case 97: *value = 163 * 1024; return SUCCESS;        // shared memory of a block that asks for it
        default: return INVALID_VALUE;
        }
    });
}

int cuDeviceTotalMem_v2(std::size_t* bytes, int) {
    return call("cuDeviceTotalMem_v2", false, [&](State& s) {
        *bytes = static_cast<std::size_t>(s.plan.number("memory", 8L << 30));
        return SUCCESS;
    });
}

int cuDevicePrimaryCtxRetain(void** context, int device) {
    return call("cuDevicePrimaryCtxRetain", false, [&](State& s) {
        s.retained++;
        *context = contexts + device;
        return SUCCESS;
    });
}

int cuDevicePrimaryCtxRelease_v2(int) {
    return call("cuDevicePrimaryCtxRelease_v2", false, [&](State& s) {
        if (s.retained == 0) return INVALID_CONTEXT;
        s.retained--;
        return SUCCESS;
    });
}

int cuCtxSetCurrent(void* context) {
    return call("cuCtxSetCurrent", false, [&](State& s) {
        current_context = -1;
        for (int device = 0; device < devices(s); device++)
            if (context == contexts + device) current_context = device;
        return context == nullptr || current_context >= 0 ? SUCCESS : INVALID_CONTEXT;
    });
}

int cuGetErrorName(int code, const char** name) {
    static const std::map<int, const char*> names = {
        {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
        {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
        {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED"},
        {34, "CUDA_ERROR_STUB_LIBRARY"},
        {100, "CUDA_ERROR_NO_DEVICE"},
        {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"},
        {INVALID_PTX, "CUDA_ERROR_INVALID_PTX"},
        {NO_BINARY, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
        {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"},
        {NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
        {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
        {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"},
        {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"},
        {999, "CUDA_ERROR_UNKNOWN"},
    };
    const auto found = names.find(code);
    *name = found == names.end() ? nullptr : found->second;
    return found == names.end() ? INVALID_VALUE : SUCCESS;
}

int cuStreamCreate(void** stream, unsigned) {
    return call("cuStreamCreate", true, [&](State& s) {
        s.streams.insert(*stream = handle());
        return SUCCESS;
    });
}

int cuStreamSynchronize(void* stream) {
    return call("cuStreamSynchronize", true, [&](State& s) { return s.streams.count(stream) ? SUCCESS : INVALID_VALUE; });
}

int cuStreamDestroy_v2(void* stream) {
    return call("cuStreamDestroy_v2", true, [&](State& s) {
        forget(s.streams, stream);
        return SUCCESS;
    });
}

int cuMemAlloc_v2(Pointer* address, std::size_t bytes) {
    return call("cuMemAlloc_v2", true, [&](State& s) {
        if (bytes == 0) return INVALID_VALUE;
        if (bytes > static_cast<std::size_t>(s.plan.number("memory", 8L << 30)) - s.taken) return OUT_OF_MEMORY;
        // A device aligns by 256 as well. The size is not rounded, for the address sanitizer to see its end.
        void* memory = nullptr;
        if (posix_memalign(&memory, 256, bytes) != 0) return OUT_OF_MEMORY;
        // Zeros would hide what is never written. Memory that is only reserved is never touched.
        if (bytes <= 64 << 20) std::memset(memory, 0x7f, bytes);
        *address = reinterpret_cast<Pointer>(memory);
        s.memory[*address] = bytes;
        s.taken += bytes;
        return SUCCESS;
    });
}

int cuMemFree_v2(Pointer address) {
    return call("cuMemFree_v2", true, [&](State& s) {
        const auto found = s.memory.find(address);
        if (found == s.memory.end()) return INVALID_VALUE;
        s.taken -= found->second;
        s.memory.erase(found);
        std::free(host(address));
        return SUCCESS;
    });
}

int cuMemcpyHtoDAsync_v2(Pointer to, const void* from, std::size_t bytes, void*) {
    return call("cuMemcpyHtoDAsync_v2", true, [&](State& s) {
        if (!inside(s, to, bytes)) return INVALID_VALUE;
        std::memcpy(host(to), from, bytes);
        return SUCCESS;
    });
}

int cuMemcpyDtoHAsync_v2(void* to, Pointer from, std::size_t bytes, void*) {
    return call("cuMemcpyDtoHAsync_v2", true, [&](State& s) {
        if (!inside(s, from, bytes)) return INVALID_VALUE;
        std::memcpy(to, host(from), bytes);
        return SUCCESS;
    });
}

int cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, std::size_t bytes, void*) {
    return call("cuMemcpyDtoDAsync_v2", true, [&](State& s) {
        if (!inside(s, from, bytes) || !inside(s, to, bytes)) return INVALID_VALUE;
        std::memmove(host(to), host(from), bytes);
        return SUCCESS;
    });
}

// Keeps the text, in which a function must be found later. An error leaves a line in the log.
int cuModuleLoadDataEx(void** module, const void* image, unsigned count, int* options, void** values) {
    const int code = call("cuModuleLoadDataEx", true, [&](State& s) {
        const std::string text = static_cast<const char*>(image);
        if (text.find(".version") == std::string::npos) return INVALID_PTX;
        if (text.find(".target sm_90a") != std::string::npos) {
            if (capability(s, current_context) != 90) return NO_BINARY;
            if (const long planned = s.plan.number("sm_90a", SUCCESS); planned != SUCCESS) return static_cast<Code>(planned);
        }
        s.modules[*module = handle()] = text;
        return SUCCESS;
    });
    for (unsigned i = 0; code != SUCCESS && i + 1 < count; i++)
        if (options[i] == 5 && options[i + 1] == 6)
            std::snprintf(static_cast<char*>(values[i]), reinterpret_cast<std::size_t>(values[i + 1]), "ptxas: not taken\n");
    return code;
}

int cuModuleUnload(void* module) {
    return call("cuModuleUnload", true, [&](State& s) {
        forget(s.modules, module);
        return SUCCESS;
    });
}

int cuModuleGetFunction(const void** function, void* module, const char* name) {
    return call("cuModuleGetFunction", true, [&](State& s) {
        const auto found = s.modules.find(module);
        const emulation::Entry* entry = emulation::find(name);
        const bool there = found != s.modules.end() && found->second.find(std::string(".entry ") + name) != std::string::npos;
        *function = entry;
        return there && entry != nullptr ? SUCCESS : NOT_FOUND;
    });
}

int cuFuncSetAttribute(const void*, int which, int value) {
    return call("cuFuncSetAttribute", true,
                [&](State&) { return which == 8 && value <= 163 * 1024 ? SUCCESS : INVALID_VALUE; });
}

int cuLaunchKernel(const void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                   unsigned block_y, unsigned block_z, unsigned shared, void* stream, void** arguments, void** extra) {
    const int code = call("cuLaunchKernel", true, [&](State& s) {
        return extra == nullptr && s.streams.count(stream) ? SUCCESS : INVALID_VALUE;
    });
    if (code != SUCCESS) return code;
    return run(*static_cast<const emulation::Entry*>(function), {grid_x, grid_y, grid_z}, {block_x, block_y, block_z},
               shared, arguments);
}

int cuEventCreate(void** event, unsigned) {
    return call("cuEventCreate", true, [&](State& s) {
        s.events[*event = handle()] = Clock::now();
        return SUCCESS;
    });
}

int cuEventRecord(void* event, void*) {
    return call("cuEventRecord", true, [&](State& s) {
        if (s.events.count(event) == 0) return INVALID_VALUE;
        s.events[event] = Clock::now();
        return SUCCESS;
    });
}

int cuEventElapsedTime(float* milliseconds, void* start, void* end) {
    return call("cuEventElapsedTime", true, [&](State& s) {
        if (s.events.count(start) == 0 || s.events.count(end) == 0) return INVALID_VALUE;
        *milliseconds = std::chrono::duration<float, std::milli>(s.events[end] - s.events[start]).count();
        return SUCCESS;
    });
}

int cuEventDestroy_v2(void* event) {
    return call("cuEventDestroy_v2", true, [&](State& s) {
        forget(s.events, event);
        return SUCCESS;
    });
}

// Of the emulation alone: how often a function was called.
long emulationCalls(const char* function) {
    const std::lock_guard lock(state().mutex);
    return state().calls[function];
}

} // extern "C"
