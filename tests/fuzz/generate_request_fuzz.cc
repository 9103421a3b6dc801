// The bytes of a GenerateRequest and of a ForwardRequest, up to what the engine would get.
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstdlib>

#include "absl/time/time.h"
#include "lockstep/v1/generate.pb.h"
#include "lockstep/v1/inference.pb.h"
#include "server/admission/admission.h"
#include "server/rpc/answer_writer.h"
#include "server/rpc/message_codec.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/unit/server/admission/byte_text_model.h"

namespace lockstep::server {
namespace {

constexpr int32_t kMaxModelLen = 512;

// What admission lets through keeps the promises that the scheduler relies on.
void CheckRequest(const EngineRequest& request) {
  if (request.prompt.empty() || request.prompt.size() > kMaxModelLen) std::abort();
  for (const int32_t id : request.prompt) {
    if (id < 0 || id >= kByteVocabSize) std::abort();
  }
}

void AdmitBytes(const grpc::ByteBuffer& bytes) {
  static const std::unique_ptr<TextModel> text = MakeByteTextModel();
  static const ServedModel model = [] {
    ServedModel bytes{"bytes", kByteVocabSize, kMaxModelLen, {}};
    bytes.defaults.eos_token_ids = {kByteEos};
    return bytes;
  }();
  static Admission admission(model, *text, 4);
  const CallTimes times{absl::UnixEpoch(), absl::InfiniteFuture()};
  v1::GenerateRequest generate;
  if (ParseMessage(bytes, generate).ok()) {
    const auto lease = admission.Open(generate, [] {});
    auto admitted = lease.ok() ? admission.Admit(generate, times, lease->id(), /*guide=*/nullptr)
                               : absl::StatusOr<AdmittedGeneration>(lease.status());
    if (admitted.ok()) {
      for (const auto& request : admitted->requests) CheckRequest(*request);
      AnswerWriter writer(*text, admitted->answer, admitted->requests.front()->prompt,
                          admitted->prompt_text);
    }
  }
  v1::ForwardRequest forward;
  if (ParseMessage(bytes, forward).ok()) {
    const auto admitted = admission.Admit(forward, times, [] {});
    if (admitted.ok()) {
      for (const auto& request : admitted->requests) CheckRequest(*request);
    }
  }
}

}  // namespace
}  // namespace lockstep::server

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  grpc::Slice slice(data, size);
  lockstep::server::AdmitBytes(grpc::ByteBuffer(&slice, 1));
  return 0;
}
