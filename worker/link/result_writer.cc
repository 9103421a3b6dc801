#include "worker/link/result_writer.h"

#include <malloc.h>

#include <utility>

#include "worker/link/messages.h"

namespace lockstep::worker {
namespace {

// Well below Protobuf's 2 GiB, and large enough that a step's logits are few messages.
constexpr size_t kMaxPartBytes = size_t{256} << 20;
// After logits of this size the allocator is told to give memory back, which it would keep for
// good: messages are serialized into many buffers too small to be mapped by themselves.
constexpr size_t kMinBytesToTrim = size_t{16} << 20;

}  // namespace

ResultWriter::ResultWriter(ControlLink& link) : link_(link), thread_([this] { Run(); }) {}

ResultWriter::~ResultWriter() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

bool ResultWriter::Push(StepResult result) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (broken_) return false;
  results_.push_back(std::move(result));
  changed_.notify_all();
  return true;
}

void ResultWriter::Flush() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return broken_ || results_.empty(); });
}

void ResultWriter::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !results_.empty(); });
    if (stopping_) return;
    StepResult result = std::move(results_.front());
    lock.unlock();
    const bool written = Write(std::move(result));
    lock.lock();
    results_.pop_front();
    if (!written) {
      broken_ = true;
      results_.clear();
    }
    changed_.notify_all();
  }
}

bool ResultWriter::Write(StepResult result) {
  size_t num_bytes = 0;
  for (const SlotLogits& logits : result.logits) num_bytes += logits.logits.size();
  bool written = true;
  for (const v1::WorkerMessage& message : ToProto(std::move(result), kMaxPartBytes)) {
    written = written && link_.Write(message);
  }
  if (num_bytes >= kMinBytesToTrim) malloc_trim(0);
  return written;
}

}  // namespace lockstep::worker
