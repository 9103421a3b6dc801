// From a client's request to what the engine takes: every limit checked, every default resolved, or
// a status that says which field is wrong and how to put it right.
#ifndef LOCKSTEP_SERVER_ADMISSION_ADMISSION_H_
#define LOCKSTEP_SERVER_ADMISSION_ADMISSION_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "lockstep/v1/generate.pb.h"
#include "lockstep/v1/inference.pb.h"
#include "server/admission/answer_options.h"
#include "server/admission/number_source.h"
#include "server/admission/prompt_encoder.h"
#include "server/admission/request_ids.h"
#include "server/admission/served_model.h"
#include "server/scheduler/request.h"
#include "server/text/text_model.h"

namespace lockstep::server {

// What the transport knows about a call.
struct CallTimes {
  absl::Time arrival;
  // InfiniteFuture if the client set none.
  absl::Time deadline = absl::InfiniteFuture();
};

struct AdmittedGeneration {
  // One per sequence, alike but for the seed, and sharing the id. The first has the seed of
  // SequenceSeed(seed, 0), and is the one that reports the prompt's log probabilities.
  std::vector<std::unique_ptr<const EngineRequest>> requests;
  AnswerOptions answer;
  // The prompt as the model sees it; absent for token ids.
  std::optional<std::string> prompt_text;
};

struct AdmittedForward {
  // Keeps the id taken; hold it until the request has ended.
  RequestIdLease lease;
  // One per prompt, sharing the id.
  std::vector<std::unique_ptr<const EngineRequest>> requests;
  // Rows of logits of each.
  std::vector<int64_t> num_rows;
  // Of all logits together.
  uint64_t num_bytes = 0;
};

// Thread-safe. Tokenizing takes time: not for the engine's or gRPC's threads.
class Admission {
 public:
  // Borrows both. `max_alive`: requests beyond this many are refused with RESOURCE_EXHAUSTED before
  // they cost anything; the engine's own, smaller limits decide in every ordinary case.
  Admission(const ServedModel& model, const TextModel& text, std::size_t max_alive)
      : model_(model), encoder_(model, text), ids_(max_alive) {}

  // The checks that cost nothing, and the request's id; hold it until the request has ended.
  // `on_abort`: as in RequestIds::Take.
  absl::StatusOr<RequestIdLease> Open(const v1::GenerateRequest& request,
                                      RequestIds::OnAbort on_abort);
  // The rest, for a request that was opened under `id`. `guide`: what request.guide compiles to;
  // null if it has none.
  absl::StatusOr<AdmittedGeneration> Admit(const v1::GenerateRequest& request,
                                           const CallTimes& times, const std::string& id,
                                           std::shared_ptr<const Guide> guide);
  absl::StatusOr<AdmittedForward> Admit(const v1::ForwardRequest& request, const CallTimes& times,
                                        RequestIds::OnAbort on_abort);

  // NOT_FOUND unless it is absent, empty or the served model's name.
  absl::Status CheckModel(const std::string& name) const;

  // As RequestIds::Abort.
  bool Abort(const std::string& request_id) { return ids_.Abort(request_id); }

  const PromptEncoder& encoder() const { return encoder_; }

 private:
  absl::StatusOr<EncodedPrompt> EncodePrompt(const v1::GenerateRequest& request) const;
  absl::Status CheckPromptSize(const v1::GenerateRequest& request) const;
  absl::Status CheckForward(const v1::ForwardRequest& request) const;

  const ServedModel& model_;
  const PromptEncoder encoder_;
  NumberSource numbers_;
  // 0 means no group.
  std::atomic<uint64_t> next_prompt_group_{1};
  RequestIds ids_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ADMISSION_ADMISSION_H_
