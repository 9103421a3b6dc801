#include "worker/checkpoint/safetensors_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "worker/checkpoint/safetensors_header.h"

namespace lockstep::worker {
namespace {

static_assert(std::endian::native == std::endian::little,
              "tensors are used as they lie in the file");

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

absl::Status ErrnoError(const std::filesystem::path& path, const char* what) {
  const int error = errno;
  const std::string message = absl::StrCat(path.string(), ": ", what, ": ", std::strerror(error));
  return error == ENOENT ? absl::NotFoundError(message) : absl::FailedPreconditionError(message);
}

absl::Status CannotOpen(const std::filesystem::path& path) {
  const absl::Status status = ErrnoError(path, "cannot open");
  std::error_code error;
  const std::filesystem::path target = std::filesystem::read_symlink(path, error);
  if (error || !absl::IsNotFound(status)) return status;
  return absl::NotFoundError(absl::StrCat(path.string(), " is a link to ", target.string(),
                                          ", which does not exist: download the file again, or "
                                          "copy what links lead to as well"));
}

}  // namespace

SafetensorsFile::SafetensorsFile(std::filesystem::path path, const std::byte* mapping, size_t size)
    : path_(std::move(path)), mapping_(mapping), size_(size) {}

SafetensorsFile::~SafetensorsFile() { munmap(const_cast<std::byte*>(mapping_), size_); }

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(
    const std::filesystem::path& path) {
  // Without O_NONBLOCK a pipe would wait for a writer.
  const FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) return CannotOpen(path);
  struct stat info{};
  if (fstat(fd.get(), &info) != 0) return ErrnoError(path, "cannot stat");
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), " is not a regular file"));
  }
  const auto size = static_cast<size_t>(info.st_size);
  if (size < kLengthBytes) {
    return absl::DataLossError(
        absl::StrCat(path.string(), " has ", size, " bytes: not a safetensors file, or truncated"));
  }
  void* mapping = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (mapping == MAP_FAILED) return ErrnoError(path, "cannot map");
  std::unique_ptr<SafetensorsFile> file(
      new SafetensorsFile(path, static_cast<const std::byte*>(mapping), size));
  if (absl::Status status = file->ReadHeader(); !status.ok()) return status;
  return file;
}

absl::Status SafetensorsFile::ReadHeader() {
  const std::string_view text(reinterpret_cast<const char*>(mapping_), size_);
  if (text.starts_with("version https://git-lfs")) {
    return absl::InvalidArgumentError(absl::StrCat(
        path_.string(),
        " is a Git LFS pointer, not the weights: run git lfs pull in the model directory"));
  }
  uint64_t header_size = 0;
  std::memcpy(&header_size, mapping_, kLengthBytes);
  if (header_size > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path_.string(), " announces a header of ",
                                                   header_size, " bytes; the limit is ",
                                                   kMaxHeaderBytes, ": not a safetensors file"));
  }
  if (header_size > size_ - kLengthBytes) {
    return absl::DataLossError(absl::StrCat(path_.string(), " has ", size_,
                                            " bytes, fewer than its header of ", header_size,
                                            ": the file is truncated; download it again"));
  }
  const size_t data_begin = kLengthBytes + header_size;
  absl::StatusOr<std::vector<SafetensorsEntry>> entries = ParseSafetensorsHeader(
      text.substr(kLengthBytes, header_size), size_ - data_begin, path_.string());
  if (!entries.ok()) return entries.status();
  for (SafetensorsEntry& entry : *entries) {
    tensors_[std::move(entry.name)] =
        StoredTensor{.dtype = std::move(entry.dtype),
                     .shape = std::move(entry.shape),
                     .data = mapping_ + data_begin + entry.begin,
                     .num_bytes = static_cast<size_t>(entry.end - entry.begin)};
  }
  return absl::OkStatus();
}

void SafetensorsFile::Release(const std::byte* begin, const std::byte* end) const {
  // Whole pages inside the range only: neighbours may still be in use.
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t first = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page;
  const uintptr_t last = reinterpret_cast<uintptr_t>(end) / page * page;
  // Advice: where it fails, memory is merely given back later.
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace lockstep::worker
