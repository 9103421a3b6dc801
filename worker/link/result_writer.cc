#include "worker/link/result_writer.h"

#include <utility>

#include "worker/link/result_messages.h"

namespace lockstep::worker {

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
  for (const grpc::ByteBuffer& message : EncodeResult(std::move(result))) {
    if (!link_.Write(message)) return false;
  }
  return true;
}

}  // namespace lockstep::worker
