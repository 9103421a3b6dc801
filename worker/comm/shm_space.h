#ifndef LOCKSTEP_WORKER_COMM_SHM_SPACE_H_
#define LOCKSTEP_WORKER_COMM_SHM_SPACE_H_

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace lockstep::worker {

// What ranks of one machine that NCCL connects should find free in /dev/shm: it takes about 10 MB
// for each pair that has no direct way from GPU to GPU.
inline constexpr uint64_t kNcclShmBytes = uint64_t{32} << 20;

// Bytes that may still be written to files in `directory`; absent where there is no such file
// system.
std::optional<uint64_t> FreeShmBytes(const std::filesystem::path& directory = "/dev/shm");

// Where that is too little for NCCL: a clause that says so, with the fix. Otherwise empty. No
// reason to refuse by itself: GPUs that reach each other directly need less.
std::string NcclShmShortage(std::optional<uint64_t> free_bytes);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_COMM_SHM_SPACE_H_
