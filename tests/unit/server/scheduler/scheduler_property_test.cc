// Random operations against the contract of the control link, and every answer against the one that
// its request gets alone.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <string>

#include "tests/testing/fake_model.h"
#include "tests/unit/server/scheduler/scheduler_harness.h"

namespace lockstep::server {
namespace {

struct Shape {
  std::string name;
  SchedulerOptions options;
  uint32_t num_blocks;
  int num_operations;
};

// A guide that nobody looks into: the scheduler only asks whether there is one.
std::shared_ptr<const Guide> SomeGuide() {
  static const int kPlace = 0;
  return {std::shared_ptr<void>(), reinterpret_cast<const Guide*>(&kPlace)};
}

class RandomOperations {
 public:
  RandomOperations(const Shape& shape, uint64_t seed)
      : shape_(shape), harness_(shape.options, shape.num_blocks), random_(seed) {}

  void Run() {
    const int start_at = Below(20);
    for (int i = 0; i < shape_.num_operations; ++i) {
      if (i == start_at) harness_.Start();
      RunOne();
      harness_.Deliver();
      ASSERT_FALSE(::testing::Test::HasFailure()) << shape_.name << ", operation " << i;
      ForgetCompleted();
    }
    // Sequences that wait for their masks get them, one token at a time.
    do {
      harness_.RunAll();
    } while (BringMasks());
    ForgetCompleted();
    ExpectEmpty();
  }

  int num_completed() const { return num_completed_; }
  int num_preempted() const { return num_preempted_; }
  int num_shared() const { return num_shared_; }
  int num_cut_short() const { return num_cut_short_; }
  int num_stopped_late() const { return num_stopped_late_; }
  int num_held_back() const { return num_held_back_; }

 private:
  // Uniform in [0, n).
  int Below(int n) { return std::uniform_int_distribution<int>(0, n - 1)(random_); }

  void RunOne() {
    harness_.now += absl::Milliseconds(Below(3));
    const int operation = Below(100);
    if (operation < 14) {
      AddRandom();
    } else if (operation < 16) {
      FinishRandom();
    } else if (operation < 18) {
      StopLate();
    } else if (operation < 20) {
      harness_.scheduler.Expire(harness_.now);
    } else if (operation < 21) {
      HoldBackRandom();
    } else if (operation < 24) {
      BringMasks();
    } else if (operation < 60) {
      Schedule();
    } else {
      harness_.Apply();
    }
  }

  void AddRandom() {
    const int32_t context = harness_.options.max_model_len;
    EngineRequest request = harness_.MakeRequest(
        std::min(1 + Below(Below(8) == 0 ? 60 : 12), context - 1), 1 + Below(25));
    if (Below(2) == 0) ContinueEarlier(request);
    request.max_new_tokens =
        std::min(request.max_new_tokens, context - static_cast<int32_t>(request.prompt.size()));
    if (Below(6) == 0) request.cache_bypass = true;
    if (Below(4) == 0) request.cache_salt = "salt";
    request.priority = Below(4) == 0 ? Below(3) : 0;
    if (Below(3) == 0) request.sampling.set_temperature(1);
    request.sampling.set_seed(random_());
    if (Below(3) == 0) request.eos_token_ids = {Below(64), Below(64), Below(64)};
    if (Below(4) == 0) request.stop_token_ids = {Below(64), Below(64)};
    if (Below(4) == 0) request.min_new_tokens = Below(6);
    request.sampling.set_min_new_tokens(static_cast<uint32_t>(request.min_new_tokens));
    for (int32_t id : request.eos_token_ids) {
      request.sampling.add_end_token_ids(static_cast<uint32_t>(id));
    }
    for (int32_t id : request.stop_token_ids) {
      request.sampling.add_end_token_ids(static_cast<uint32_t>(id));
    }
    if (Below(6) == 0) request.deadline = harness_.now + absl::Milliseconds(Below(80));
    if (Below(8) == 0) {
      request.logits = Below(2) == 0 ? worker::v1::LOGITS_LAST : worker::v1::LOGITS_ALL;
    }
    if (Below(8) == 0) request.num_prompt_logprobs = 1;
    if (Below(4) == 0) request.guide = SomeGuide();
    // Several of one prompt.
    const int num_members = Below(8) == 0 ? 1 + Below(4) : 1;
    if (num_members > 1) request.prompt_group = ++num_groups_;
    for (int i = 0; i < num_members; ++i) {
      const RequestHandle handle = harness_.Add(request);
      if (!harness_.last_add.ok()) harness_.outcomes.erase(handle);
      request.sampling.set_seed(random_());
    }
  }

  // Begins the prompt like that of an earlier request, and its answer.
  void ContinueEarlier(EngineRequest& request) {
    std::vector<int32_t> prompt = earlier_;
    if (prompt.size() > 1)
      prompt.resize(1 + static_cast<size_t>(Below(static_cast<int>(prompt.size()))));
    prompt.insert(prompt.end(), request.prompt.begin(), request.prompt.end());
    const auto longest = static_cast<size_t>(std::min(62, harness_.options.max_model_len - 1));
    if (prompt.size() > longest) prompt.resize(longest);
    request.prompt = std::move(prompt);
    request.sampling.set_num_prompt_tokens(static_cast<uint32_t>(request.prompt.size()));
  }

  // A plan's guided rows are told, and none of a sequence that waits for its mask is planned before
  // the mask is there.
  void Schedule() {
    const std::optional<worker::v1::StepPlan> plan = harness_.Schedule();
    size_t num_guided = 0;
    for (int i = 0; plan.has_value() && i < plan->scheduled_size(); ++i) {
      num_guided += plan->scheduled(i).guided() ? 1 : 0;
    }
    const std::vector<GuidedRow> rows = harness_.scheduler.TakeGuidedRows();
    EXPECT_EQ(rows.size(), num_guided);
    for (const GuidedRow& row : rows) {
      EXPECT_EQ(row.step, plan->step());
      const auto held = mask_positions_.find(row.handle);
      if (held != mask_positions_.end()) {
        EXPECT_EQ(row.position, held->second);
      }
    }
  }

  std::map<RequestHandle, Outcome>::iterator RandomLive() {
    auto it = harness_.outcomes.begin();
    std::advance(it, Below(static_cast<int>(harness_.outcomes.size())));
    return it;
  }

  void FinishRandom() {
    if (harness_.outcomes.empty()) return;
    harness_.scheduler.Finish(RandomLive()->first, v1::ABORTED, {});
  }

  // What a stop string does: it is found in the text of tokens that have been delivered, when steps
  // after theirs are under way.
  void StopLate() {
    if (harness_.outcomes.empty()) return;
    const auto it = RandomLive();
    if (it->second.completion.has_value() || it->second.answer.empty()) return;
    const size_t num_tokens = it->second.answer.size();
    harness_.scheduler.Finish(it->first, v1::STOP_STRING, {});
    harness_.Deliver();
    EXPECT_EQ(it->second.answer.size(), num_tokens);
    ASSERT_TRUE(it->second.completion.has_value());
    EXPECT_EQ(it->second.completion->reason, v1::STOP_STRING);
    ++num_stopped_late_;
  }

  void HoldBackRandom() {
    if (harness_.outcomes.empty()) return;
    const auto it = RandomLive();
    if (it->second.completion.has_value() || it->second.request->guide == nullptr) return;
    harness_.scheduler.HoldBack(it->first);
    mask_positions_.try_emplace(it->first, -1);
    ++num_held_back_;
  }

  // The masks of what the held-back sequences have so far. False: there were none to bring.
  bool BringMasks() {
    bool brought = false;
    for (auto it = mask_positions_.begin(); it != mask_positions_.end();) {
      const auto outcome = harness_.outcomes.find(it->first);
      if (outcome == harness_.outcomes.end() || outcome->second.completion.has_value()) {
        it = mask_positions_.erase(it);
        continue;
      }
      const auto position = static_cast<int32_t>(outcome->second.request->prompt.size() +
                                                 outcome->second.answer.size());
      brought = brought || position != it->second;
      it->second = position;
      harness_.scheduler.SetMaskPosition(it->first, position);
      ++it;
    }
    return brought;
  }

  void ForgetCompleted() {
    for (auto it = harness_.outcomes.begin(); it != harness_.outcomes.end();) {
      if (!it->second.completion.has_value()) {
        ++it;
        continue;
      }
      Check(it->second);
      if (Below(3) == 0) {
        earlier_ = it->second.request->prompt;
        earlier_.insert(earlier_.end(), it->second.answer.begin(), it->second.answer.end());
      }
      it = harness_.outcomes.erase(it);
    }
  }

  void Check(const Outcome& outcome) {
    ++num_completed_;
    num_preempted_ += outcome.num_preemptions > 0 ? 1 : 0;
    const Completion& completion = *outcome.completion;
    const bool cut_short = !completion.status.ok() || completion.reason == v1::ABORTED ||
                           completion.reason == v1::STOP_STRING;
    num_cut_short_ += cut_short ? 1 : 0;
    num_shared_ += completion.num_cached_tokens > 0 ? 1 : 0;
    EXPECT_LE(outcome.num_scheduled, 1);
    EXPECT_EQ(completion.num_completion_tokens, outcome.answer.size());
    CheckPromptTokens(outcome, cut_short);
    if (outcome.request->logits != worker::v1::LOGITS_NONE) {
      CheckLogits(outcome, cut_short);
      return;
    }
    Completion alone;
    const std::vector<int32_t> answer = harness_.AnswerAlone(*outcome.request, &alone);
    if (cut_short) {
      ASSERT_LE(outcome.answer.size(), answer.size());
      EXPECT_TRUE(std::equal(outcome.answer.begin(), outcome.answer.end(), answer.begin()));
    } else {
      EXPECT_EQ(outcome.answer, answer);
      EXPECT_EQ(completion.reason, alone.reason);
    }
  }

  void CheckPromptTokens(const Outcome& outcome, bool cut_short) {
    const std::vector<int32_t>& prompt = outcome.request->prompt;
    if (!outcome.request->num_prompt_logprobs.has_value()) {
      EXPECT_TRUE(outcome.prompt_tokens.empty());
    } else if (!cut_short) {
      EXPECT_EQ(outcome.prompt_tokens.size(), prompt.size() - 1);
    }
    EXPECT_TRUE(
        std::equal(outcome.prompt_tokens.begin(), outcome.prompt_tokens.end(), prompt.begin() + 1));
  }

  void CheckLogits(const Outcome& outcome, bool cut_short) {
    const std::vector<int32_t>& prompt = outcome.request->prompt;
    EXPECT_TRUE(outcome.answer.empty());
    const bool all = outcome.request->logits == worker::v1::LOGITS_ALL;
    if (!cut_short) {
      EXPECT_EQ(outcome.num_logit_rows, all ? prompt.size() : 1);
    }
    for (size_t row = 0; row < outcome.num_logit_rows; ++row) {
      const size_t num_tokens = all ? row + 1 : prompt.size();
      const std::vector<float> expected = testing::FakeLogits(
          absl::MakeConstSpan(prompt).subspan(0, num_tokens), SchedulerHarness::kVocabSize);
      const auto begin =
          outcome.logits.begin() + static_cast<ptrdiff_t>(row * SchedulerHarness::kVocabSize);
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), begin)) << "row " << row;
    }
  }

  void ExpectEmpty() {
    EXPECT_TRUE(harness_.outcomes.empty()) << harness_.outcomes.size() << " requests never ended";
    EXPECT_EQ(harness_.scheduler.num_running(), 0);
    EXPECT_EQ(harness_.scheduler.num_waiting(), 0);
    EXPECT_EQ(harness_.scheduler.num_waiting_tokens(), 0);
    EXPECT_EQ(harness_.scheduler.num_steps_in_flight(), 0);
    EXPECT_EQ(harness_.scheduler.num_used_blocks(), 0);
    EXPECT_EQ(harness_.scheduler.NextDeadline(), absl::InfiniteFuture());
  }

  const Shape shape_;
  SchedulerHarness harness_;
  std::mt19937_64 random_;
  int num_completed_ = 0;
  int num_preempted_ = 0;
  int num_cut_short_ = 0;
  int num_shared_ = 0;
  int num_stopped_late_ = 0;
  int num_held_back_ = 0;
  // Of the sequences that were held back; -1: no mask yet.
  std::map<RequestHandle, int32_t> mask_positions_;
  uint64_t num_groups_ = 0;
  std::vector<int32_t> earlier_;  // prompt and answer of a request that has ended
};

SchedulerOptions Options(int32_t num_seqs, int32_t num_batched_tokens, int32_t block_size,
                         int32_t steps_in_flight) {
  SchedulerOptions options;
  options.max_model_len = 64;
  options.max_num_seqs = num_seqs;
  options.max_num_batched_tokens = num_batched_tokens;
  options.block_size = block_size;
  options.max_steps_in_flight = steps_in_flight;
  options.max_queued_requests = 20;
  return options;
}

class SchedulerProperty : public ::testing::TestWithParam<int32_t> {};

TEST_P(SchedulerProperty, RandomOperationsKeepEveryPromiseAndEveryAnswer) {
  const int32_t depth = GetParam();
  const std::vector<Shape> shapes = {
      {"roomy pool", Options(8, 64, 4, depth), 200, 30000},
      {"tiny pool", Options(8, 16, 4, depth), 20, 30000},
      {"pool of one context", Options(4, 8, 2, depth), 32, 20000},
      {"pool of one short context", Options(6, 7, 3, depth), 9, 20000},
      {"budget smaller than the slots", Options(12, 5, 4, depth), 40, 20000},
      {"one token per block, one slot", Options(1, 3, 1, depth), 30, 5000},
      {"one token per step", Options(3, 1, 4, depth), 24, 5000},
  };
  int num_completed = 0;
  int num_preempted = 0;
  int num_cut_short = 0;
  int num_shared = 0;
  int num_stopped_late = 0;
  int num_held_back = 0;
  for (size_t i = 0; i < shapes.size(); ++i) {
    RandomOperations operations(shapes[i], 1000 * static_cast<uint64_t>(depth) + i);
    operations.Run();
    if (HasFatalFailure() || HasFailure()) return;
    num_completed += operations.num_completed();
    num_preempted += operations.num_preempted();
    num_cut_short += operations.num_cut_short();
    num_shared += operations.num_shared();
    num_stopped_late += operations.num_stopped_late();
    num_held_back += operations.num_held_back();
  }
  // The random walk has met what it is meant to meet.
  EXPECT_GT(num_completed, 5000);
  EXPECT_GT(num_preempted, 300);
  EXPECT_GT(num_cut_short, 500);
  EXPECT_GT(num_shared, 300);
  EXPECT_GT(num_stopped_late, 300);
  EXPECT_GT(num_held_back, 100);
}

INSTANTIATE_TEST_SUITE_P(StepsInFlight, SchedulerProperty, ::testing::Values(1, 2, 4, 8));

}  // namespace
}  // namespace lockstep::server
