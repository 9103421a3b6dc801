#include "server/worker_pool/result_reader.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "worker/memory/result_file.h"

namespace lockstep::server {
namespace {

using worker::ResultFileHeader;

absl::Status NoFile(int error) {
  return absl::UnavailableError(
      absl::StrCat("cannot make a file for results: ", strerrordesc_np(error)));
}

absl::Status BadPlace(const worker::v1::SharedColumns& columns, absl::string_view why) {
  return absl::InternalError(absl::StrCat(
      columns.num_bytes(), " bytes of logits at ", columns.offset(), " of block ", columns.block(),
      " (", columns.block_bytes(), " bytes at ", columns.block_offset(), " of its file): ", why));
}

// Whether [offset, offset + size) is not empty and lies in [begin, end).
bool LiesWithin(uint64_t offset, uint64_t size, uint64_t begin, uint64_t end) {
  return size > 0 && offset >= begin && offset <= end && size <= end - offset;
}

}  // namespace

// Part of the file.
class ResultReader::Mapping {
 public:
  // INTERNAL if the system does not map it.
  static absl::StatusOr<std::shared_ptr<Mapping>> Make(int fd, uint64_t offset, size_t size,
                                                       int protection) {
    void* begin = mmap(nullptr, size, protection, MAP_SHARED, fd, static_cast<off_t>(offset));
    if (begin == MAP_FAILED) return absl::InternalError(strerrordesc_np(errno));
    return std::make_shared<Mapping>(static_cast<char*>(begin), offset, size);
  }

  Mapping(char* begin, uint64_t offset, size_t size)
      : begin_(begin), offset_(offset), size_(size) {}
  ~Mapping() { munmap(begin_, size_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  char* begin() const { return begin_; }
  uint64_t offset() const { return offset_; }
  size_t size() const { return size_; }

 private:
  char* const begin_;
  const uint64_t offset_;
  const size_t size_;
};

absl::StatusOr<std::unique_ptr<ResultReader>> ResultReader::Make() {
  const FileDescriptor low(memfd_create("lockstep-results", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!low.is_open()) return NoFile(errno);
  FileDescriptor file = AboveInherited(low);
  if (!file.is_open() ||
      ftruncate(file.get(), static_cast<off_t>(worker::kFirstResultBlock)) != 0 ||
      fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
    return NoFile(errno);
  }
  auto header = Mapping::Make(file.get(), 0, sizeof(ResultFileHeader), PROT_READ | PROT_WRITE);
  if (!header.ok()) return header.status();
  return std::unique_ptr<ResultReader>(new ResultReader(std::move(file), *std::move(header)));
}

absl::StatusOr<std::shared_ptr<ResultReader::Mapping>> ResultReader::MapBlock(
    const worker::v1::SharedColumns& columns) {
  struct stat status = {};
  if (fstat(file_.get(), &status) != 0) return BadPlace(columns, strerrordesc_np(errno));
  const auto file_size = static_cast<uint64_t>(status.st_size);
  if (columns.block() >= ResultFileHeader::kMaxBlocks ||
      columns.block_offset() % worker::kResultAlignment != 0 ||
      !LiesWithin(columns.block_offset(), columns.block_bytes(), worker::kFirstResultBlock,
                  file_size)) {
    return BadPlace(columns, absl::StrCat("the file of ", file_size, " bytes has no such block"));
  }
  MutexLock lock(mutex_);
  std::weak_ptr<Mapping>& known = blocks_[columns.block()];
  std::shared_ptr<Mapping> block = known.lock();
  if (block != nullptr && block->offset() == columns.block_offset() &&
      block->size() == columns.block_bytes()) {
    return block;
  }
  auto made = Mapping::Make(file_.get(), columns.block_offset(), columns.block_bytes(), PROT_READ);
  if (!made.ok()) return BadPlace(columns, made.status().message());
  known = *made;
  return *std::move(made);
}

absl::StatusOr<LogitShard> ResultReader::Open(const worker::v1::SharedColumns& columns) {
  auto block = MapBlock(columns);
  if (!block.ok()) return block.status();
  if (!LiesWithin(columns.offset(), columns.num_bytes(), 0, columns.block_bytes())) {
    return BadPlace(columns, "the block has no such part");
  }
  const absl::string_view bytes((*block)->begin() + columns.offset(), columns.num_bytes());
  // Released: the worker writes there after what was read.
  const auto tell = [header = header_, number = columns.block(), block = *block](const char*) {
    auto* const counts = reinterpret_cast<ResultFileHeader*>(header->begin());
    counts->num_readers[number].fetch_sub(1, std::memory_order_release);
  };
  return LogitShard{bytes, std::shared_ptr<const char>(bytes.data(), tell)};
}

}  // namespace lockstep::server
