#include "tests/unit/server/scheduler/scheduler_harness.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "tests/testing/fake_model.h"
#include "tests/testing/whole_result.h"

namespace lockstep::server {
namespace {

SchedulerOptions ForPool(SchedulerOptions options, uint32_t num_blocks) {
  options.vocab_size = SchedulerHarness::kVocabSize;
  options.max_model_len =
      std::min(options.max_model_len, static_cast<int32_t>(num_blocks) * options.block_size);
  return options;
}

testing::FakeWorkerOptions WorkerOptions(const SchedulerOptions& options, uint32_t num_blocks) {
  testing::FakeWorkerOptions worker;
  worker.num_kv_blocks = num_blocks;
  worker.block_size = static_cast<uint32_t>(options.block_size);
  worker.max_num_seqs = static_cast<uint32_t>(options.max_num_seqs);
  worker.max_num_batched_tokens = static_cast<uint32_t>(options.max_num_batched_tokens);
  worker.max_model_len = static_cast<uint32_t>(options.max_model_len);
  worker.max_steps_in_flight = static_cast<uint32_t>(options.max_steps_in_flight);
  worker.vocab_size = SchedulerHarness::kVocabSize;
  worker.max_rows_per_part = 3;
  return worker;
}

testing::FakeWorkerOptions ScriptedOptions(const SchedulerOptions& options, uint32_t num_blocks,
                                           std::vector<int32_t> script) {
  testing::FakeWorkerOptions worker = WorkerOptions(options, num_blocks);
  worker.next_token = [script = std::move(script)](absl::Span<const int32_t> tokens,
                                                   const worker::v1::Sampling& sampling) {
    return script[(tokens.size() - sampling.num_prompt_tokens()) % script.size()];
  };
  return worker;
}

bool Contains(const std::vector<int32_t>& ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

// Takes one event into the outcome of its request, checking the promised order.
struct Receiver {
  Outcome& outcome;

  void operator()(const ScheduledEvent&) const { ++outcome.num_scheduled; }
  void operator()(const PreemptedEvent&) const { ++outcome.num_preemptions; }
  void operator()(const TokenEvent& event) const {
    const worker::v1::SampledToken& token = event.token;
    EXPECT_FALSE(outcome.has_end_token) << "something comes after the token that ends the answer";
    outcome.has_end_token = event.ends_answer;
    EXPECT_EQ(token.position(), outcome.request->prompt.size() + outcome.answer.size())
        << "a token is lost, repeated or out of order";
    outcome.answer.push_back(static_cast<int32_t>(token.token_id()));
  }
  void operator()(const PromptTokensEvent& event) const {
    EXPECT_TRUE(outcome.answer.empty());
    for (const worker::v1::SampledToken& token : event.tokens) {
      EXPECT_EQ(token.position(), outcome.prompt_tokens.size() + 1)
          << "a prompt token is lost, repeated or out of order";
      outcome.prompt_tokens.push_back(static_cast<int32_t>(token.token_id()));
    }
  }
  void operator()(const SlotLogits& logits) const {
    if (outcome.request->logits == worker::v1::LOGITS_ALL) {
      EXPECT_EQ(logits.position, outcome.num_logit_rows);
    }
    outcome.num_logit_rows += logits.num_rows;
    for (uint32_t row = 0; row < logits.num_rows; ++row) {
      for (const LogitShard& shard : logits.shards) {
        const size_t num_bytes = shard.bytes.size() / logits.num_rows;
        const size_t begin = outcome.logits.size();
        outcome.logits.resize(begin + num_bytes / sizeof(float));
        std::memcpy(outcome.logits.data() + begin, shard.bytes.data() + row * num_bytes, num_bytes);
      }
    }
  }
  void operator()(const Completion& completion) const { outcome.completion = completion; }
};

}  // namespace

SchedulerOptions SmallOptions() {
  SchedulerOptions options;
  options.max_model_len = 64;
  options.max_num_seqs = 4;
  options.max_num_batched_tokens = 16;
  options.block_size = 4;
  return options;
}

SchedulerHarness::SchedulerHarness(const SchedulerOptions& options, uint32_t num_blocks)
    : options(ForPool(options, num_blocks)),
      scheduler(this->options),
      worker_options_(WorkerOptions(this->options, num_blocks)),
      worker_(worker_options_) {}

SchedulerHarness::SchedulerHarness(const SchedulerOptions& options, uint32_t num_blocks,
                                   std::vector<int32_t> script)
    : options(ForPool(options, num_blocks)),
      scheduler(this->options),
      worker_options_(ScriptedOptions(this->options, num_blocks, std::move(script))),
      worker_(worker_options_) {}

EngineRequest SchedulerHarness::MakeRequest(int32_t num_prompt_tokens, int32_t max_new_tokens) {
  EngineRequest request;
  request.id = "request " + std::to_string(next_handle_);
  for (int32_t i = 0; i < num_prompt_tokens; ++i) {
    request.prompt.push_back(
        static_cast<int32_t>((next_handle_ * 7 + static_cast<uint64_t>(i) * i) % kVocabSize));
  }
  request.max_new_tokens = max_new_tokens;
  request.sampling.set_num_prompt_tokens(static_cast<uint32_t>(num_prompt_tokens));
  request.sampling.set_num_logprobs(-1);
  request.arrival = now;
  return request;
}

RequestHandle SchedulerHarness::Add(EngineRequest request) {
  const RequestHandle handle = next_handle_++;
  auto shared = std::make_shared<const EngineRequest>(std::move(request));
  outcomes[handle].request = shared;
  last_add = scheduler.CheckQueue(1, static_cast<int64_t>(shared->prompt.size()));
  if (last_add.ok()) last_add = scheduler.Add(handle, shared);
  Deliver();
  return handle;
}

std::optional<worker::v1::StepPlan> SchedulerHarness::Schedule() {
  std::optional<worker::v1::StepPlan> plan = scheduler.Schedule(now);
  if (plan.has_value()) {
    const absl::Status status = worker_.Accept(*plan);
    EXPECT_TRUE(status.ok()) << status;
  }
  Deliver();
  return plan;
}

bool SchedulerHarness::Apply() {
  if (worker_.num_accepted() == 0) return false;
  absl::StatusOr<worker::v1::StepResult> result = worker_.Run();
  EXPECT_TRUE(result.ok()) << result.status();
  if (!result.ok()) return false;
  absl::StatusOr<StepSummary> summary =
      scheduler.Apply(testing::WholeResult(*std::move(result)), now);
  EXPECT_TRUE(summary.ok()) << summary.status();
  if (summary.ok()) {
    last_summary = *summary;
    num_tokens_run += summary->num_prefill_tokens + summary->num_decode_tokens;
    num_recomputed_tokens += summary->num_recomputed_tokens;
  }
  Deliver();
  return true;
}

void SchedulerHarness::RunAll(int max_num_steps) {
  for (int i = 0; i < max_num_steps; ++i) {
    while (Schedule().has_value()) {
    }
    if (!Apply()) return;
  }
}

void SchedulerHarness::Deliver() {
  for (const Event& event : scheduler.TakeEvents()) {
    Outcome& outcome = outcomes.at(event.handle);
    EXPECT_FALSE(outcome.completion.has_value()) << "an event after the completion";
    std::visit(Receiver{outcome}, event.what);
  }
}

std::vector<int32_t> SchedulerHarness::AnswerAlone(const EngineRequest& request,
                                                   Completion* completion) const {
  std::vector<int32_t> tokens = request.prompt;
  const size_t limit = request.prompt.size() + static_cast<size_t>(request.max_new_tokens);
  completion->reason = v1::LENGTH;
  while (tokens.size() < limit) {
    const int32_t token = testing::FakeNextToken(tokens, request.sampling, kVocabSize);
    tokens.push_back(token);
    const size_t num_tokens = tokens.size() - request.prompt.size();
    if (num_tokens <= static_cast<size_t>(request.min_new_tokens)) continue;
    if (Contains(request.eos_token_ids, token)) {
      completion->reason = v1::EOS;
      break;
    }
    if (Contains(request.stop_token_ids, token)) {
      completion->reason = v1::STOP_TOKEN;
      break;
    }
  }
  return {tokens.begin() + static_cast<ptrdiff_t>(request.prompt.size()), tokens.end()};
}

}  // namespace lockstep::server
