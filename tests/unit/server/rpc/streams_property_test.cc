// Random streams over gRPC, at once: submitted, read slowly or not, cancelled, timed out, aborted,
// stopped by strings and guides, preempted. Each gets the answer that it gets alone, or, where it
// was cut off, the beginning of it.

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/unit/server/rpc/grpc_server_fixture.h"

namespace lockstep::server {
namespace {

constexpr int kNumClients = 12;
constexpr int kNumRequests = 30;  // of each client
constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";

enum class Reading { kAll, kSlow, kCancel, kDeadline, kAbort, kWhole, kNumReadings };

struct Plan {
  v1::GenerateRequest request;
  Reading reading = Reading::kAll;
  int num_events = 0;  // that are read before something happens
  absl::Duration deadline = absl::InfiniteDuration();
};

Plan RandomPlan(uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto below = [&random](uint64_t n) { return random() % n; };
  Plan plan;
  plan.request = ParseRequest("sampling { temperature: 1 } stopping { ignore_eos: true }");
  plan.request.set_request_id(absl::StrCat("request-", seed));
  // Some begin alike.
  std::string prompt(below(3) == 0 ? 64 : 0, 'p');
  for (uint64_t n = 1 + below(100); n > 0; --n) prompt += static_cast<char>('a' + below(26));
  plan.request.set_text(prompt);
  plan.request.mutable_sampling()->set_seed(below(1 << 20));
  auto& stopping = *plan.request.mutable_stopping();
  stopping.set_max_new_tokens(static_cast<uint32_t>(1 + below(250)));
  if (below(3) == 0) stopping.add_stop_strings(std::string(1, static_cast<char>('a' + below(26))));
  if (below(3) == 0) plan.request.mutable_guide()->set_regex("[a-z ]{10,60}!");
  plan.request.set_priority(static_cast<int32_t>(below(3)));
  plan.reading = static_cast<Reading>(below(static_cast<uint64_t>(Reading::kNumReadings)));
  plan.num_events = static_cast<int>(below(20));
  if (plan.reading == Reading::kDeadline) plan.deadline = absl::Milliseconds(1 + below(60));
  return plan;
}

class StreamsProperty : public ::testing::Test {
 protected:
  // As it is without others.
  StreamedAnswer Alone(v1::GenerateRequest request) {
    Frontend quiet({.answer = "", .is_random = true, .max_model_len = 512});
    return Stream(quiet, request);
  }

  // Waits until the engine is some tokens further than now, or has nothing to do.
  void LetOthersRun() {
    const uint64_t wanted = frontend_.engine().Snapshot().generated_tokens + 100;
    while (true) {
      const EngineSnapshot now = frontend_.engine().Snapshot();
      if (now.generated_tokens >= wanted || now.num_running + now.num_waiting == 0) return;
      std::this_thread::yield();
    }
  }

  void Interfere(const Plan& plan, grpc::ClientContext& context) {
    if (plan.reading == Reading::kSlow) LetOthersRun();
    if (plan.reading == Reading::kCancel) context.TryCancel();
    if (plan.reading != Reading::kAbort) return;
    grpc::ClientContext abort_context;
    v1::AbortRequest abort;
    abort.set_request_id(plan.request.request_id());
    v1::AbortResponse response;
    frontend_.admin().Abort(&abort_context, abort, &response);  // it may have ended already
  }

  StreamedAnswer Carry(const Plan& plan) {
    grpc::ClientContext context;
    if (plan.deadline != absl::InfiniteDuration()) {
      context.set_deadline(absl::ToChronoTime(absl::Now() + plan.deadline));
    }
    StreamedAnswer answer;
    if (plan.reading == Reading::kWhole) {
      v1::GenerateResponse whole;
      answer.status = frontend_.inference().Generate(&context, plan.request, &whole);
      if (!answer.status.ok()) return answer;
      answer.text = whole.sequences(0).text();
      answer.finished = whole.sequences(0).finished();
      const auto& ids = whole.sequences(0).token_ids();
      answer.token_ids.assign(ids.begin(), ids.end());
      return answer;
    }
    const auto reader = frontend_.inference().GenerateStream(&context, plan.request);
    v1::GenerateStreamResponse event;
    for (int i = 0; i < plan.num_events && reader->Read(&event); ++i) {
      answer.text += event.delta().text();
      const auto& ids = event.delta().token_ids();
      answer.token_ids.insert(answer.token_ids.end(), ids.begin(), ids.end());
      if (event.has_finished()) answer.finished = event.finished();
    }
    Interfere(plan, context);
    const StreamedAnswer rest = ReadStream(*reader);
    answer.status = rest.status;
    answer.text += rest.text;
    answer.token_ids.insert(answer.token_ids.end(), rest.token_ids.begin(), rest.token_ids.end());
    if (rest.num_finished > 0) answer.finished = rest.finished;
    return answer;
  }

  void Check(const Plan& plan, const StreamedAnswer& answer, const StreamedAnswer& alone) {
    const bool is_aborted = answer.finished.reason() == v1::ABORTED;
    if (answer.status.ok() && !is_aborted) {
      EXPECT_EQ(answer.text, alone.text);
      EXPECT_EQ(answer.token_ids, alone.token_ids);
      EXPECT_EQ(answer.finished.reason(), alone.finished.reason());
      ++num_whole_;
      return;
    }
    EXPECT_TRUE(is_aborted ? plan.reading == Reading::kAbort
                           : plan.reading == Reading::kCancel || plan.reading == Reading::kDeadline)
        << answer.status.error_message();
    // Cut off inside a character, it ends with a replacement.
    const bool is_half = is_aborted && absl::EndsWith(answer.text, kReplacement);
    const std::string text =
        answer.text.substr(0, answer.text.size() - (is_half ? kReplacement.size() : 0));
    EXPECT_EQ(text, alone.text.substr(0, text.size()));
    ASSERT_LE(answer.token_ids.size(), alone.token_ids.size());
    EXPECT_TRUE(
        std::equal(answer.token_ids.begin(), answer.token_ids.end(), alone.token_ids.begin()));
    ++num_cut_off_;
  }

  // Fewer blocks than the streams need together.
  Frontend frontend_{{.answer = "",
                      .is_random = true,
                      .max_model_len = 512,
                      .max_num_seqs = 8,
                      .max_num_batched_tokens = 64,
                      .num_kv_blocks = 36}};
  std::atomic<int> num_whole_ = 0;
  std::atomic<int> num_cut_off_ = 0;
};

TEST_F(StreamsProperty, EachStreamGetsTheAnswerThatItGetsAlone) {
  std::vector<std::thread> clients;
  for (uint64_t client = 0; client < kNumClients; ++client) {
    clients.emplace_back([this, client] {
      for (uint64_t i = 0; i < kNumRequests; ++i) {
        const uint64_t seed = client * kNumRequests + i;
        SCOPED_TRACE(absl::StrCat("seed ", seed));
        const Plan plan = RandomPlan(seed);
        Check(plan, Carry(plan), Alone(plan.request));
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_TRUE(frontend_.WaitUntilIdle());
  EXPECT_TRUE(frontend_.WaitUntilBlocksAreFree());
  EXPECT_TRUE(frontend_.pool().violation().ok()) << frontend_.pool().violation();
  // The walk has met what it is meant to meet.
  EXPECT_GT(num_whole_, kNumClients * kNumRequests / 3);
  EXPECT_GT(num_cut_off_, kNumClients * kNumRequests / 20);
  EXPECT_GT(frontend_.engine().Snapshot().preemptions, 0u);
}

}  // namespace
}  // namespace lockstep::server
