#include "worker/device/host_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace lockstep::worker {
namespace {

constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

uint64_t ReadNumber(const std::filesystem::path& path) {
  std::ifstream file(path);
  uint64_t number = 0;
  return file >> number ? number : kUnlimited;  // "max", or no such file
}

// Of the pages in use, those of files, which the kernel gives back where memory is needed: most
// often the checkpoint's, which a download or an earlier start has read.
uint64_t ReclaimableBytes(const std::filesystem::path& memory_stat) {
  std::ifstream file(memory_stat);
  uint64_t sum = 0;
  std::string name;
  uint64_t bytes = 0;
  while (file >> name >> bytes) {
    if (name == "active_file" || name == "inactive_file") sum += bytes;
  }
  return sum;
}

DeviceMemory MachineMemory() {
  DeviceMemory memory = {.total_bytes = kUnlimited, .free_bytes = kUnlimited};
  std::ifstream file("/proc/meminfo");
  std::string name;
  uint64_t kibibytes = 0;
  std::string unit;
  while (file >> name >> kibibytes) {
    std::getline(file, unit);
    if (name == "MemTotal:") memory.total_bytes = kibibytes * 1024;
    if (name == "MemAvailable:") memory.free_bytes = kibibytes * 1024;
  }
  return memory;
}

}  // namespace

DeviceMemory ControlGroupMemory(const std::filesystem::path& directory) {
  const uint64_t limit = ReadNumber(directory / "memory.max");
  const uint64_t current = ReadNumber(directory / "memory.current");
  if (limit == kUnlimited || current == kUnlimited) return {kUnlimited, kUnlimited};
  const uint64_t used = current - std::min(current, ReclaimableBytes(directory / "memory.stat"));
  return {.total_bytes = limit, .free_bytes = limit > used ? limit - used : 0};
}

DeviceMemory HostMemory() {
  const DeviceMemory machine = MachineMemory();
  const DeviceMemory group = ControlGroupMemory("/sys/fs/cgroup");
  return {.total_bytes = std::min(machine.total_bytes, group.total_bytes),
          .free_bytes = std::min(machine.free_bytes, group.free_bytes)};
}

}  // namespace lockstep::worker
