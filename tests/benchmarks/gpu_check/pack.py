"""Carries Lockstep's programs to a machine that has PyTorch and CUDA and nothing else that they need.

    pack.py BUILD_DIRECTORY OUTPUT_DIRECTORY

OUTPUT_DIRECTORY/bin gets the programs, stripped, and OUTPUT_DIRECTORY/lib the shared libraries that such a machine lacks.
"""

import pathlib
import re
import shutil
import subprocess
import sys

PROGRAMS = ["bin/lockstep-server", "bin/lockstep-worker", "bin/lockstep", "bin/make-checkpoint"]
TESTS = ["worker_device_test", "cuda_kernels_test", "device_sampling_test", "worker_comm_test"]
# What every system has, and what comes with PyTorch.
LEFT_THERE = re.compile(
    r"ld-linux|lib(c|m|dl|rt|pthread|resolv|gcc_s|stdc\+\+|gomp)[-.]|lib(torch|c10|cud|cub|cufft|curand|cusolver|cusparse|cufile|cupti|nv|nccl|shm)"
)
MAX_BYTES = 60 << 20


def libraries(program):
    """Paths of the shared libraries that the program loads, less those that are left there."""
    lines = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.splitlines()
    pairs = [match.groups() for line in lines if (match := re.match(r"\s*(\S+) => (/\S+)", line))]
    return {name: pathlib.Path(path) for name, path in pairs if not LEFT_THERE.match(name)}


def pack(build, output):
    shutil.rmtree(output, ignore_errors=True)
    (output / "bin").mkdir(parents=True)
    (output / "lib").mkdir()
    wanted = {}
    for program in [build / name for name in PROGRAMS] + [build / "tests" / name for name in TESTS]:
        wanted.update(libraries(program))
        subprocess.run(["strip", "-o", output / "bin" / program.name, program], check=True)
    for name, path in wanted.items():
        shutil.copy(path, output / "lib" / name)
    sizes = {path.name: path.stat().st_size for path in output.glob("*/*")}
    total = sum(sizes.values())
    if total > MAX_BYTES:
        largest = ", ".join(f"{name} {size >> 20} MiB" for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:5])
        sys.exit(f"the pack has {total >> 20} MiB, more than {MAX_BYTES >> 20} MiB can be carried; the largest are {largest}")
    print(f"{output}: {len(sizes)} files, {total / (1 << 20):.1f} MiB")


if __name__ == "__main__":
    pack(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
