"""What .ci/ptx does once the compilers are there: see its head."""

import collections
import concurrent.futures
import ctypes
import difflib
import os
import pathlib
import re
import subprocess
import sys

TOOLS = pathlib.Path(sys.argv[1]).resolve()
MODE = next((a for a in sys.argv[2:] if a.startswith("--")), "")
NAMES = [a for a in sys.argv[2:] if not a.startswith("--")]
SOURCES, OUTPUT = pathlib.Path("cuda"), pathlib.Path("cuda/ptx")
# 8.0 is what the loader asks for at least. Division, square root and subnormals as IEEE has them, which is the default.
OPTIONS = ["--gpu-architecture=compute_80", "--std=c++17", "--device-as-default-execution-space", "--include-path=cuda"]
# A source may ask for more, or for another architecture, in a line of its own: "// options: --fmad=false".
MORE = re.compile(r"^// options: (.*)$", re.M)
# What the PTX is assembled for to see registers and instructions: the oldest card it runs on, and a newer one.
CARDS = ["sm_80", "sm_90"]
# What the assembler says, and goes on, where registers do not suffice for what a source means to run beside each other.
WARNINGS = ["serialized", "setmaxnreg"]
# Instructions that tell whether a kernel became what its source says.
OPCODES = ["HMMA", "IMMA", "HGMMA", "SYNCS", "IDP", "LDGSTS", "LDG", "LDS", "LDSM", "BAR", "LDL", "STL"]


def nvrtc():
    """The compiler as a library; the part that holds CUDA's own functions is looked up beside it."""
    folder = TOOLS / "nvrtc-12.0.140/nvidia/cuda_nvrtc/lib"
    ctypes.CDLL(str(folder / "libnvrtc-builtins.so.12.0"), mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(folder / "libnvrtc.so.12"))
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library


def text(library, program, what):
    """The log or the PTX of a program."""
    size = ctypes.c_size_t()
    getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    getattr(library, f"nvrtcGet{what}")(program, buffer)
    return buffer.value.decode()


def compile_one(name):
    """The PTX of one source."""
    library = nvrtc()
    source = (SOURCES / f"{name}.cu").read_text()
    more = [o for line in MORE.findall(source) for o in line.split()]
    options = [o for o in OPTIONS if o.split("=")[0] not in [m.split("=")[0] for m in more]] + more
    program = ctypes.c_void_p()
    library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), f"{name}.cu".encode(), 0, None, None)
    array = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
    status = library.nvrtcCompileProgram(program, len(options), array)
    log = text(library, program, "ProgramLog").strip()
    if status:
        raise SystemExit(f"{name}.cu: {library.nvrtcGetErrorString(status).decode()}\n{log}")
    if log:
        print(f"{name}.cu:\n{log}", file=sys.stderr)
    return text(library, program, "PTX")


def check(name, ptx):
    """Whether the file holds these bytes."""
    path = OUTPUT / f"{name}.ptx"
    held = path.read_text() if path.exists() else ""
    if held == ptx:
        return True
    difference = list(difflib.unified_diff(held.splitlines(), ptx.splitlines(), str(path), "made now", lineterm="", n=1))
    print("\n".join(difference[:20]), file=sys.stderr)
    print(f"{path} is not what cuda/{name}.cu gives: run .ci/ptx", file=sys.stderr)
    return False


def opcodes(cubin):
    """How often each entry has each instruction."""
    listing = subprocess.run([TOOLS / "nvcc-13.0.88/nvidia/cu13/bin/nvdisasm", cubin], check=True, capture_output=True, text=True).stdout
    counts, entry = collections.defaultdict(collections.Counter), None
    for line in listing.splitlines():
        if section := re.match(r"\s*\.section\s+\.text\.(\w+)", line):
            entry = section[1]
        if instruction := re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?\w+\s+)?([A-Z0-9]+)", line):
            counts[entry][instruction[1]] += 1
    return counts


def assemble(name):
    """Registers, spills and instructions of each entry on each card, as lines, and whether nothing is spilled."""
    lines, sound = [], True
    # PTX for one architecture alone, such as sm_90a, is for no other.
    target = re.search(r"^\.target (\w+)", (OUTPUT / f"{name}.ptx").read_text(), re.M)[1]
    for card in [target] if target.endswith("a") else CARDS:
        cubin = TOOLS / f"{name}.{card}.cubin"
        ptxas = TOOLS / "nvcc-13.0.88/nvidia/cu13/bin/ptxas"
        command = [ptxas, "-v", f"-arch={card}", OUTPUT / f"{name}.ptx", "-o", cubin]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            raise SystemExit(f"{name}: {run.stderr}")
        for line in run.stderr.splitlines():
            if any(warning in line for warning in WARNINGS):
                lines.append(line)
                sound = False
        counts = opcodes(cubin)
        for part in run.stderr.split("Compiling entry function '")[1:]:
            entry = part.split("'")[0]
            number = lambda pattern: int((re.search(pattern, part) or [0, 0])[1])
            registers, shared = number(r"Used (\d+) registers"), number(r"(\d+) bytes smem")
            spilled = number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads")
            stack = number(r"(\d+) bytes stack frame")
            sound &= spilled == 0
            shown = " ".join(f"{op}:{counts[entry][op]}" for op in OPCODES if counts[entry][op])
            lines.append(f"{card} {entry:40} {registers:3} registers {spilled:4} spilled {stack:4} stack {shared:6} shared  {shown}")
    return lines, sound


def main():
    names = NAMES or sorted(path.stem for path in SOURCES.glob("*.cu"))
    OUTPUT.mkdir(exist_ok=True)
    sound = True
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        for name, ptx in zip(names, pool.map(compile_one, names)):
            if MODE == "--check":
                sound &= check(name, ptx)
            else:
                (OUTPUT / f"{name}.ptx").write_text(ptx)
        if MODE == "--assemble":
            for lines, spill_free in pool.map(assemble, names):
                print("\n".join(lines))
                sound &= spill_free
    for path in [] if NAMES else sorted(OUTPUT.glob("*.ptx")):
        if path.stem not in names:
            print(f"{path} has no source", file=sys.stderr)
            sound = False
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()
