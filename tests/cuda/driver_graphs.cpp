// Graphs of the emulated driver: nodes are kernels, each of which waits for the one before it. Arguments are copied when a
// node is made or set, never later; an executable graph keeps copies of its own, so that what is set in it changes only
// launches that come after. What a driver leaves undefined, such as the use of a handle that is gone, is an error here.
#include "driver.hpp"

#include <algorithm>
#include <vector>

using namespace driver;

namespace {

// As CUDA_KERNEL_NODE_PARAMS_v2.
struct NodeParams {
    const emulation::Entry* function;
    unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared;
    void** arguments;
    void** extra;
    void *kernel, *context;
};

struct Kernel {
    const emulation::Entry* entry;
    emulation::Index grid, block;
    unsigned shared;
    std::vector<std::vector<unsigned char>> arguments;
};

struct Graph {
    // Nodes in the order in which they were added, each after the one before.
    std::vector<void*> nodes;
    std::vector<Kernel> kernels;
};

struct Executable {
    void* graph;
    std::vector<Kernel> kernels;
};

std::map<void*, Graph> graphs;
std::map<void*, Executable> executables;

// Bytes of each parameter of an entry, as a module that is loaded says: `.param .u64 a` or `.param .align 4 .b8 p[12]`.
bool sizes(const State& s, const std::string& entry, std::vector<std::size_t>& found) {
    for (const auto& [module, text] : s.modules) {
        const auto start = text.find(".entry " + entry + "(");
        if (start == std::string::npos) continue;
        const auto end = text.find(')', start);
        for (auto at = text.find(".param", start); at < end; at = text.find(".param", at + 1)) {
            const auto next = std::min(end, text.find(',', at)), bracket = text.find('[', at);
            found.push_back(bracket < next ? std::stoul(text.substr(bracket + 1)) : sizeof(Pointer));
        }
        return true;
    }
    return false;
}

Code copy(const State& s, const NodeParams& params, Kernel& kernel) {
    std::vector<std::size_t> bytes;
    if (params.function == nullptr || params.extra != nullptr || params.kernel != nullptr) return INVALID_VALUE;
    if (!sizes(s, params.function->name, bytes)) return INVALID_VALUE;
    kernel = {params.function, {params.grid_x, params.grid_y, params.grid_z},
              {params.block_x, params.block_y, params.block_z}, params.shared, {}};
    for (std::size_t i = 0; i < bytes.size(); i++) {
        const auto* from = static_cast<const unsigned char*>(params.arguments[i]);
        kernel.arguments.emplace_back(from, from + bytes[i]);
    }
    return SUCCESS;
}

} // namespace

extern "C" {

int cuGraphCreate(void** graph, unsigned flags) {
    return call("cuGraphCreate", true, [&](State&) {
        if (flags != 0) return INVALID_VALUE;
        graphs[*graph = handle()] = {};
        return SUCCESS;
    });
}

int cuGraphAddKernelNode_v2(void** node, void* graph, void* const* dependencies, std::size_t count,
                            const NodeParams* params) {
    return call("cuGraphAddKernelNode_v2", true, [&](State& s) {
        const auto found = graphs.find(graph);
        if (found == graphs.end()) return INVALID_VALUE;
        Graph& to = found->second;
        // A chain: other graphs are nothing that the device makes.
        if (count != (to.nodes.empty() ? 0 : 1) || (count == 1 && dependencies[0] != to.nodes.back())) return INVALID_VALUE;
        Kernel kernel;
        if (const Code code = copy(s, *params, kernel); code != SUCCESS) return code;
        to.nodes.push_back(*node = handle());
        to.kernels.push_back(kernel);
        return SUCCESS;
    });
}

int cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long flags) {
    return call("cuGraphInstantiateWithFlags", true, [&](State&) {
        const auto found = graphs.find(graph);
        if (found == graphs.end() || flags != 0) return INVALID_VALUE;
        executables[*executable = handle()] = {graph, found->second.kernels};
        return SUCCESS;
    });
}

int cuGraphExecKernelNodeSetParams_v2(void* executable, void* node, const NodeParams* params) {
    return call("cuGraphExecKernelNodeSetParams_v2", true, [&](State& s) {
        const auto found = executables.find(executable);
        if (found == executables.end()) return INVALID_VALUE;
        // The node must still be in the graph that the executable one was made of.
        const auto from = graphs.find(found->second.graph);
        if (from == graphs.end()) return INVALID_VALUE;
        const std::vector<void*>& nodes = from->second.nodes;
        for (std::size_t i = 0; i < nodes.size(); i++)
            if (nodes[i] == node) return copy(s, *params, found->second.kernels[i]);
        return INVALID_VALUE;
    });
}

int cuGraphLaunch(void* executable, void* stream) {
    std::vector<Kernel> kernels;
    const int code = call("cuGraphLaunch", true, [&](State& s) {
        const auto found = executables.find(executable);
        if (found == executables.end() || s.streams.count(stream) == 0) return INVALID_VALUE;
        kernels = found->second.kernels;
        return SUCCESS;
    });
    if (code != SUCCESS) return code;
    for (Kernel& kernel : kernels) {
        std::vector<void*> arguments;
        for (auto& argument : kernel.arguments) arguments.push_back(argument.data());
        if (const int failed = run(*kernel.entry, kernel.grid, kernel.block, kernel.shared, arguments.data()); failed != SUCCESS)
            return failed;
    }
    return SUCCESS;
}

int cuGraphExecDestroy(void* executable) {
    return call("cuGraphExecDestroy", true, [&](State&) {
        if (executables.count(executable) == 0) return INVALID_VALUE;
        forget(executables, executable);
        return SUCCESS;
    });
}

int cuGraphDestroy(void* graph) {
    return call("cuGraphDestroy", true, [&](State&) {
        const auto found = graphs.find(graph);
        if (found == graphs.end()) return INVALID_VALUE;
        for (void* node : found->second.nodes) delete static_cast<char*>(node);
        forget(graphs, graph);
        return SUCCESS;
    });
}

// Of the emulation alone: graphs and executable graphs that were not destroyed.
long emulationGraphs() {
    const std::lock_guard lock(state().mutex);
    return static_cast<long>(graphs.size() + executables.size());
}

} // extern "C"
