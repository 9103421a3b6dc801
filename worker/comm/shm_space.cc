#include "worker/comm/shm_space.h"

#include <sys/statvfs.h>

#include "absl/strings/str_cat.h"

namespace lockstep::worker {

std::optional<uint64_t> FreeShmBytes(const std::filesystem::path& directory) {
  struct statvfs info{};
  if (statvfs(directory.c_str(), &info) != 0) return std::nullopt;
  return uint64_t{info.f_bavail} * info.f_frsize;
}

std::string NcclShmShortage(std::optional<uint64_t> free_bytes) {
  if (free_bytes.has_value() && *free_bytes >= kNcclShmBytes) return "";
  const std::string there = free_bytes.has_value()
                                ? absl::StrCat("/dev/shm has ", *free_bytes, " bytes free")
                                : "there is no /dev/shm";
  return absl::StrCat(there, ", and NCCL may need ", kNcclShmBytes,
                      ": enlarge it (docker run --shm-size=1g, or in Kubernetes an emptyDir with "
                      "medium Memory mounted there)");
}

}  // namespace lockstep::worker
