// Runs the launches that a file holds, each with memory of exactly the sizes it names, so that sanitizers see every step
// beyond an end. The file is words: for each launch the bytes of the kernel's name and the name, filled up to whole
// words; grid, block and dynamic shared memory; the bytes of the parameters and those; twelve words of the variant; the
// number of bindings and for each its number of words and those.
#include "emulation.hpp"

#include <cstdio>
#include <exception>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

namespace {

class Reader {
public:
    explicit Reader(const char* path) : file(path, std::ios::binary) {}
    bool more() { return file.peek() != std::ifstream::traits_type::eof(); }
    uint32_t word() {
        uint32_t word = 0;
        bytes(&word, sizeof word);
        return word;
    }
    void bytes(void* to, std::size_t count) {
        if (!file.read(static_cast<char*>(to), static_cast<std::streamsize>(count))) throw std::runtime_error("the file ends early");
    }

private:
    std::ifstream file;
};

// Memory as a device gives it: aligned, and of no more bytes than asked for.
using Memory = std::unique_ptr<void, decltype(&std::free)>;
Memory allocate(std::size_t bytes) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 256, bytes == 0 ? 1 : bytes) != 0) throw std::bad_alloc();
    return {memory, &std::free};
}

void replay(Reader& reader) {
    std::string name(reader.word(), ' ');
    std::vector<char> letters((name.size() + 3) / 4 * 4);
    reader.bytes(letters.data(), letters.size());
    name.assign(letters.data(), name.size());
    const emulation::Entry* entry = emulation::find(name.c_str());
    if (entry == nullptr) throw std::runtime_error("there is no kernel " + name);
    const emulation::Index grid = {reader.word(), reader.word(), reader.word()};
    const uint32_t block = reader.word(), shared = reader.word();
    std::vector<Memory> memory;
    const std::size_t parameter_bytes = reader.word();
    Memory parameters = allocate(parameter_bytes), variant = allocate(48);
    reader.bytes(parameters.get(), parameter_bytes);
    reader.bytes(variant.get(), 48);
    std::vector<void*> pointers;
    for (uint32_t count = reader.word(); count > 0; count--) {
        const std::size_t bytes = std::size_t{4} * reader.word();
        memory.push_back(allocate(bytes));
        reader.bytes(memory.back().get(), bytes);
        pointers.push_back(memory.back().get());
    }
    std::vector<void*> arguments;
    for (void*& pointer : pointers) arguments.push_back(&pointer);
    arguments.push_back(parameters.get());
    arguments.push_back(variant.get());
    emulation::launch(*entry, grid, {block == 0 ? entry->most_threads : block}, shared, arguments.data());
}

} // namespace

int main(int count, char** words) {
    try {
        Reader reader(count > 1 ? words[1] : "");
        unsigned launches = 0;
        for (; reader.more(); launches++) replay(reader);
        std::printf("%u launches\n", launches);
        return launches == 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
