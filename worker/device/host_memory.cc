#include "worker/device/host_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "process/control_group.h"

namespace lockstep::worker {
namespace {

constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

uint64_t ReadNumber(const std::filesystem::path& path) {
  std::ifstream file(path);
  uint64_t number = 0;
  return file >> number ? number : kUnlimited;  // "max", or no such file
}

// What the controller of version 2 calls `name`, and that of version 1 `old_name`.
uint64_t ReadEither(const std::filesystem::path& group, const char* name, const char* old_name) {
  return std::min(ReadNumber(group / name), ReadNumber(group / old_name));
}

// Of the pages in use, those of files, which the kernel gives back where memory is needed: most
// often the checkpoint's, which a download or an earlier start has read.
uint64_t ReclaimableBytes(const std::filesystem::path& memory_stat) {
  std::ifstream file(memory_stat);
  uint64_t sum = 0;
  // Version 1 counts the groups within it in sums of their own, version 2 in these.
  uint64_t total = 0;
  std::string name;
  uint64_t bytes = 0;
  while (file >> name >> bytes) {
    if (name == "active_file" || name == "inactive_file") sum += bytes;
    if (name == "total_active_file" || name == "total_inactive_file") total += bytes;
  }
  return std::max(sum, total);
}

DeviceMemory OfOneGroup(const std::filesystem::path& group) {
  const uint64_t limit = ReadEither(group, "memory.max", "memory.limit_in_bytes");
  const uint64_t current = ReadEither(group, "memory.current", "memory.usage_in_bytes");
  if (limit == kUnlimited || current == kUnlimited) return {kUnlimited, kUnlimited};
  const uint64_t used = current - std::min(current, ReclaimableBytes(group / "memory.stat"));
  return {.total_bytes = limit, .free_bytes = limit > used ? limit - used : 0};
}

DeviceMemory Smallest(const DeviceMemory& one, const DeviceMemory& other) {
  return {.total_bytes = std::min(one.total_bytes, other.total_bytes),
          .free_bytes = std::min(one.free_bytes, other.free_bytes)};
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

DeviceMemory ControlGroupMemory(const std::vector<std::filesystem::path>& groups) {
  DeviceMemory memory = {.total_bytes = kUnlimited, .free_bytes = kUnlimited};
  for (const std::filesystem::path& group : groups) memory = Smallest(memory, OfOneGroup(group));
  return memory;
}

DeviceMemory HostMemory() {
  return Smallest(MachineMemory(), ControlGroupMemory(ControlGroups("memory")));
}

}  // namespace lockstep::worker
