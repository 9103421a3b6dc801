"""Carries Lockstep's programs to a machine that has PyTorch and CUDA and nothing else that they need.

    pack.py BUILD_DIRECTORY ARCHIVE

ARCHIVE, a .tar.xz, gets gpu-check/bin, the programs, stripped, and gpu-check/lib, the shared libraries that such a machine lacks.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

PROGRAMS = [
    "bin/lockstep-server",
    "bin/lockstep-worker",
    "bin/lockstep",
    "bin/make-checkpoint",
    "bin/gpu_kernels_benchmark",
]
TESTS = ["worker_device_test", "cuda_kernels_test", "device_sampling_test", "worker_comm_test"]
# What every system has, and what comes with PyTorch.
LEFT_THERE = re.compile(
    r"ld-linux|lib(c|m|dl|rt|pthread|resolv|gcc_s|stdc\+\+|gomp)[-.]|lib(torch|c10|cud|cub|cufft|curand|cusolver|cusparse|cufile|cupti|nv|nccl|shm)"
)
MAX_BYTES = 60 << 20  # of the archive


def libraries(program):
    """Paths of the shared libraries that the program loads, less those that are left there."""
    lines = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.splitlines()
    pairs = [match.groups() for line in lines if (match := re.match(r"\s*(\S+) => (/\S+)", line))]
    return {name: pathlib.Path(path) for name, path in pairs if not LEFT_THERE.match(name)}


def collect(build, output):
    (output / "bin").mkdir(parents=True)
    (output / "lib").mkdir()
    wanted = {}
    for program in [build / name for name in PROGRAMS] + [build / "tests" / name for name in TESTS]:
        wanted.update(libraries(program))
        subprocess.run(["strip", "-o", output / "bin" / program.name, program], check=True)
    for name, path in wanted.items():
        shutil.copy(path, output / "lib" / name)


def pack(build, archive):
    with tempfile.TemporaryDirectory() as directory:
        output = pathlib.Path(directory) / "gpu-check"
        collect(build, output)
        with tarfile.open(archive, "w:xz", preset=3) as file:
            file.add(output, "gpu-check")
        sizes = {path.name: path.stat().st_size for path in output.glob("*/*")}
    num_bytes = archive.stat().st_size
    if num_bytes > MAX_BYTES:
        largest = ", ".join(f"{name} {size >> 20} MiB" for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:5])
        sys.exit(f"{archive} has {num_bytes >> 20} MiB, more than the {MAX_BYTES >> 20} MiB that can be carried; the largest files are {largest}")
    print(f"{archive}: {len(sizes)} files, {num_bytes / (1 << 20):.1f} MiB")


if __name__ == "__main__":
    pack(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
