"""Facts without which a figure means nothing."""

import os
import platform
import re
import subprocess
import time

# The flags that decide which kernels run, by their names in /proc/cpuinfo.
ISA_FLAGS = ["avx2", "fma", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16"]


def _first(pattern, path, default="unknown"):
    with open(path, encoding="utf-8") as file:
        match = re.search(pattern, file.read(), re.MULTILINE)
    return match.group(1).strip() if match else default


def _output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def available_memory():
    """Bytes that new processes can take without pushing others out."""
    return int(_first(r"^MemAvailable:\s+(\d+)", "/proc/meminfo", "0")) * 1024


def facts(repository):
    flags = set(_first(r"^flags\s*:(.*)$", "/proc/cpuinfo", "").split())
    changed = _output("git", "-C", str(repository), "status", "--porcelain", "--", "server", "worker", "proto")
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "cpu": _first(r"^model name\s*:(.*)$", "/proc/cpuinfo"),
        "cores": len(os.sched_getaffinity(0)),
        "isa": [flag for flag in ISA_FLAGS if flag in flags],
        "memory_bytes": int(_first(r"^MemTotal:\s+(\d+)", "/proc/meminfo", "0")) * 1024,
        "kernel": platform.release(),
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "commit": _output("git", "-C", str(repository), "rev-parse", "--short", "HEAD") + ("" if not changed else ", with changes"),
    }


class OthersLoad:
    """The share of the machine that processes other than the benchmark's took, between start and `share`."""

    def __init__(self, cpu_seconds_of_ours):
        self._ours = cpu_seconds_of_ours
        self._began = (time.monotonic(), self._busy(), self._ours())

    @staticmethod
    def _busy():
        with open("/proc/stat", encoding="utf-8") as stat:
            user, nice, system, _, _, irq, softirq, steal = map(int, stat.readline().split()[1:9])
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")

    def share(self):
        began, busy, ours = self._began
        wall = time.monotonic() - began
        return max(0.0, (self._busy() - busy) - (self._ours() - ours)) / (wall * os.cpu_count())
