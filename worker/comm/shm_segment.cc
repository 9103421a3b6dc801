#include "worker/comm/shm_segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <new>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "process/monotonic_time.h"
#include "worker/comm/shm_space.h"

namespace lockstep::worker {
namespace {

constexpr uint64_t kMagic = 0x6C6F636B73746570;  // "lockstep"
constexpr char kNamePrefix[] = "lockstep-";
constexpr char kShmDirectory[] = "/dev/shm";
// Where it is missing, read-only or too small.
constexpr char kShmAdvice[] = "docker run --shm-size, or an emptyDir with medium Memory";
constexpr size_t kHeaderBytes = 4096;
static_assert(sizeof(ShmHeader) <= kHeaderBytes);
// A name without a living creator that is older than this was left by a crash.
constexpr time_t kStaleSeconds = 60;
// Until the segment exists there is nothing to wait on but its name.
constexpr absl::Duration kAttachPoll = absl::Milliseconds(1);

absl::Status ErrnoError(const std::string& what) {
  return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(errno)));
}

struct flock ByteLock(int rank) {
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = rank;
  lock.l_len = 1;
  return lock;
}

// Whether some open file description holds byte `rank`.
bool IsLocked(int fd, int rank) {
  struct flock lock = ByteLock(rank);
  return fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

void RemoveIfStale(const std::string& name) {
  const int fd = shm_open(name.c_str(), O_RDWR | O_CLOEXEC, 0);
  if (fd < 0) return;
  struct stat info{};
  const bool is_stale =
      fstat(fd, &info) == 0 && time(nullptr) - info.st_mtime > kStaleSeconds && !IsLocked(fd, 0);
  if (is_stale) shm_unlink(name.c_str());
  close(fd);
}

// A process that is killed while its peers attach cannot remove the name. The next pool does.
void RemoveStaleSegments() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(kShmDirectory, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kNamePrefix)) RemoveIfStale("/" + name);
  }
}

std::string FreeSpaceText() {
  const std::optional<uint64_t> free_bytes = FreeShmBytes(kShmDirectory);
  if (!free_bytes.has_value()) return "";
  return absl::StrCat(", which has ", *free_bytes, " bytes free");
}

}  // namespace

ShmSegment::ShmSegment(std::string name, int rank, int world_size)
    : name_(std::move(name)),
      rank_(rank),
      world_size_(world_size),
      size_(kHeaderBytes + static_cast<size_t>(kNumShmBuffers) * world_size * kShmChunkBytes) {}

ShmSegment::~ShmSegment() {
  RemoveName();
  if (mapping_ != nullptr) munmap(mapping_, size_);
  if (fd_ >= 0) close(fd_);
}

void ShmSegment::RemoveName() {
  if (std::exchange(has_name_, false)) shm_unlink(name_.c_str());
}

std::byte* ShmSegment::buffer(int buffer, int rank) const {
  return static_cast<std::byte*>(mapping_) + kHeaderBytes +
         (static_cast<size_t>(buffer) * world_size_ + rank) * kShmChunkBytes;
}

bool ShmSegment::IsAlive(int rank) const { return IsLocked(fd_, rank); }

absl::StatusOr<std::unique_ptr<ShmSegment>> ShmSegment::Attach(const std::string& communicator_id,
                                                               int rank, int world_size,
                                                               absl::Duration timeout) {
  const absl::Time deadline = MonotonicNow() + timeout;
  std::unique_ptr<ShmSegment> segment(
      new ShmSegment(absl::StrCat("/", kNamePrefix, communicator_id), rank, world_size));
  absl::Status status = rank == 0 ? segment->Create() : segment->Open(deadline);
  if (status.ok()) status = segment->WaitForAll(deadline);
  if (!status.ok()) return status;
  return segment;
}

absl::Status ShmSegment::Create() {
  RemoveStaleSegments();
  fd_ = shm_open(name_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
  if (fd_ < 0 && errno == EEXIST) {
    return absl::AlreadyExistsError(absl::StrCat("shared memory ", name_,
                                                 " exists: the communicator id is in use by "
                                                 "another pool"));
  }
  if (fd_ < 0) {
    return absl::UnavailableError(absl::StrCat(
        "cannot create shared memory ", name_, ": ", std::strerror(errno), "; ranks need a ",
        kShmDirectory, " that they can write to (", kShmAdvice, ")"));
  }
  has_name_ = true;
  if (absl::Status status = LockOwnByte(); !status.ok()) return status;
  // Reserves the memory: without it a full /dev/shm would kill the process at its first write.
  if (const int error = posix_fallocate(fd_, 0, static_cast<off_t>(size_)); error != 0) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "cannot reserve ", size_, " bytes of shared memory in ", kShmDirectory, FreeSpaceText(),
        ": ", std::strerror(error), "; enlarge it (", kShmAdvice, ")"));
  }
  if (absl::Status status = Map(); !status.ok()) return status;
  header_ = new (mapping_) ShmHeader{};
  header_->num_attached.store(1);
  header_->magic.store(kMagic, std::memory_order_release);
  return absl::OkStatus();
}

absl::Status ShmSegment::Open(absl::Time deadline) {
  while (true) {
    if (fd_ < 0) fd_ = shm_open(name_.c_str(), O_RDWR | O_CLOEXEC, 0);
    if (fd_ < 0 && errno != ENOENT) {
      return ErrnoError(absl::StrCat("cannot open shared memory ", name_));
    }
    struct stat info{};
    if (fd_ >= 0 && fstat(fd_, &info) == 0 && info.st_size > 0) {
      if (static_cast<size_t>(info.st_size) != size_) {
        return absl::FailedPreconditionError(
            absl::StrCat("shared memory ", name_, " has ", info.st_size, " bytes instead of ",
                         size_, ": rank 0 runs with another number of ranks"));
      }
      break;
    }
    if (MonotonicNow() >= deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat("rank 0 has not created shared memory ", name_, " in time"));
    }
    absl::SleepFor(kAttachPoll);
  }
  if (absl::Status status = LockOwnByte(); !status.ok()) return status;
  if (absl::Status status = Map(); !status.ok()) return status;
  header_ = static_cast<ShmHeader*>(mapping_);
  while (header_->magic.load(std::memory_order_acquire) != kMagic) {
    if (MonotonicNow() >= deadline) {
      return absl::DeadlineExceededError("rank 0 has not finished creating the shared memory");
    }
    absl::SleepFor(kAttachPoll);
  }
  header_->num_attached.fetch_add(1);
  return absl::OkStatus();
}

absl::Status ShmSegment::Map() {
  mapping_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  if (mapping_ != MAP_FAILED) return absl::OkStatus();
  mapping_ = nullptr;
  return ErrnoError(absl::StrCat("cannot map shared memory ", name_));
}

absl::Status ShmSegment::LockOwnByte() {
  struct flock lock = ByteLock(rank_);
  if (fcntl(fd_, F_OFD_SETLK, &lock) == 0) return absl::OkStatus();
  if (errno == EAGAIN || errno == EACCES) {
    return absl::AlreadyExistsError(
        absl::StrCat("another process is rank ", rank_, " of communicator ", name_));
  }
  return ErrnoError(absl::StrCat("cannot lock shared memory ", name_));
}

absl::Status ShmSegment::WaitForAll(absl::Time deadline) {
  const auto world_size = static_cast<uint32_t>(world_size_);
  while (header_->num_attached.load() < world_size) {
    if (rank_ != 0 && !IsAlive(0)) {
      shm_unlink(name_.c_str());
      return absl::UnavailableError("rank 0 ended while the ranks attached");
    }
    if (MonotonicNow() >= deadline) {
      if (rank_ != 0) shm_unlink(name_.c_str());
      std::string missing;
      for (int rank = 0; rank < world_size_; ++rank) {
        // Its own lock does not show to the holder of it.
        if (rank != rank_ && !IsAlive(rank))
          absl::StrAppend(&missing, missing.empty() ? "" : ", ", rank);
      }
      return absl::DeadlineExceededError(
          absl::StrCat("these ranks did not attach to the communicator in time: ", missing));
    }
    absl::SleepFor(kAttachPoll);
  }
  RemoveName();
  return absl::OkStatus();
}

}  // namespace lockstep::worker
