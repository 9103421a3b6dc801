// Owns a file descriptor.
#ifndef LOCKSTEP_SERVER_NET_FILE_DESCRIPTOR_H_
#define LOCKSTEP_SERVER_NET_FILE_DESCRIPTOR_H_

#include <fcntl.h>
#include <unistd.h>

#include <utility>

namespace lockstep::server {

class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() { Close(); }
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    if (this != &other) {
      Close();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }

  // -1: none.
  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  // Gives it away; none is left here.
  int Release() { return std::exchange(fd_, -1); }
  void Close() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }

 private:
  int fd_ = -1;
};

// Another descriptor of the same file, which closes on exec and lies above the numbers that a
// child's own descriptors get. Not open where there is none left.
inline FileDescriptor AboveInherited(const FileDescriptor& descriptor) {
  constexpr int kFirst = 10;
  return FileDescriptor(fcntl(descriptor.get(), F_DUPFD_CLOEXEC, kFirst));
}

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_NET_FILE_DESCRIPTOR_H_
