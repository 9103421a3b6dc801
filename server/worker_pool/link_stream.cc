#include "server/worker_pool/link_stream.h"

#include <grpcpp/support/proto_buffer_reader.h>

#include <utility>

namespace lockstep::server {

void LinkStream::Send(const grpc::ByteBuffer& message) {
  MutexLock lock(mutex_);
  if (end_.has_value()) return;
  outgoing_.push_back(message);
  if (outgoing_.size() == 1) StartWrite(&outgoing_.front());
}

void LinkStream::Close(const grpc::Status& status) {
  MutexLock lock(mutex_);
  if (end_.has_value()) return;
  end_ = status;
  // A peer that hangs may never take what is being written, and gRPC wants that finished first.
  if (!outgoing_.empty()) context_->TryCancel();
  FinishIfDue();
}

void LinkStream::OnReadDone(bool ok) {
  const HandoffScope step(handoff_);
  worker::v1::WorkerMessage message;
  if (ok) {
    grpc::ProtoBufferReader reader(&incoming_);
    if (message.ParseFromZeroCopyStream(&reader)) {
      callbacks_.on_message(std::move(message));
      incoming_.Clear();
      handoff_.Give();
      StartRead(&incoming_);
      return;
    }
  }
  callbacks_.on_closed();
  MutexLock lock(mutex_);
  if (!end_.has_value()) {
    end_ = ok ? grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "not a WorkerMessage")
              : grpc::Status::OK;
  }
  FinishIfDue();
}

void LinkStream::OnWriteDone(bool ok) {
  const HandoffScope step(handoff_);
  MutexLock lock(mutex_);
  outgoing_.pop_front();
  if (!ok) outgoing_.clear();  // the stream is broken; OnReadDone hears of it too
  if (!outgoing_.empty()) {
    StartWrite(&outgoing_.front());
  } else {
    FinishIfDue();
  }
}

void LinkStream::FinishIfDue() {
  if (!end_.has_value() || is_finished_ || !outgoing_.empty()) return;
  is_finished_ = true;
  handoff_.Give();
  Finish(*end_);
}

}  // namespace lockstep::server
