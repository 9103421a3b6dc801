#include "worker/device/host_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace lockstep::worker {
namespace {

constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

uint64_t ReadNumber(const char* path) {
  std::ifstream file(path);
  uint64_t number = 0;
  return file >> number ? number : kUnlimited;  // "max", or no such file
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

DeviceMemory ControlGroupMemory() {
  const uint64_t limit = ReadNumber("/sys/fs/cgroup/memory.max");
  const uint64_t used = ReadNumber("/sys/fs/cgroup/memory.current");
  if (limit == kUnlimited || used == kUnlimited) return {kUnlimited, kUnlimited};
  return {.total_bytes = limit, .free_bytes = limit > used ? limit - used : 0};
}

}  // namespace

DeviceMemory HostMemory() {
  const DeviceMemory machine = MachineMemory();
  const DeviceMemory group = ControlGroupMemory();
  return {.total_bytes = std::min(machine.total_bytes, group.total_bytes),
          .free_bytes = std::min(machine.free_bytes, group.free_bytes)};
}

}  // namespace lockstep::worker
