// Several answers to one request, and what Started says about a prompt.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "server/admission/parameters.h"
#include "tests/unit/server/rpc/grpc_server_fixture.h"

namespace lockstep::server {
namespace {

using ::testing::HasSubstr;

struct SequenceRead {
  std::string text;
  std::vector<uint32_t> token_ids;
  std::vector<v1::Finished> finished;
  int num_after_finished = 0;
};

struct StreamRead {
  grpc::Status status;
  std::vector<v1::Started> started;
  int num_before_started = 0;
  std::map<uint32_t, SequenceRead> sequences;
};

StreamRead Read(grpc::ClientReader<v1::GenerateStreamResponse>& reader) {
  StreamRead read;
  v1::GenerateStreamResponse event;
  while (reader.Read(&event)) {
    if (event.has_started()) {
      read.started.push_back(event.started());
      continue;
    }
    if (read.started.empty()) ++read.num_before_started;
    SequenceRead& sequence =
        read.sequences[event.has_delta() ? event.delta().index() : event.finished().index()];
    if (!sequence.finished.empty()) ++sequence.num_after_finished;
    if (event.has_finished()) sequence.finished.push_back(event.finished());
    sequence.text += event.delta().text();
    const auto& ids = event.delta().token_ids();
    sequence.token_ids.insert(sequence.token_ids.end(), ids.begin(), ids.end());
  }
  read.status = reader.Finish();
  return read;
}

StreamRead ReadStreamOf(Frontend& frontend, const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  return Read(*frontend.inference().GenerateStream(&context, request));
}

v1::GenerateResponse Generate(Frontend& frontend, const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  v1::GenerateResponse response;
  const auto status = frontend.inference().Generate(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

TEST(Sequences, EachIsTheAnswerThatItsSeedGivesAlone) {
  Frontend frontend({.answer = "", .is_random = true, .max_num_seqs = 3});
  auto request = ParseRequest(R"(text: 'ab' num_sequences: 5 sampling { temperature: 1 seed: 42 }
      stopping { max_new_tokens: 40 ignore_eos: true } output { echo: true })");
  const StreamRead read = ReadStreamOf(frontend, request);
  ASSERT_TRUE(read.status.ok()) << read.status.error_message();
  EXPECT_EQ(read.started.size(), 1u);
  EXPECT_EQ(read.num_before_started, 0);
  ASSERT_EQ(read.sequences.size(), 5u);
  const v1::GenerateResponse whole = Generate(frontend, request);
  ASSERT_EQ(whole.sequences_size(), 5);
  std::set<std::string> texts;
  for (uint32_t index = 0; index < 5; ++index) {
    const SequenceRead& sequence = read.sequences.at(index);
    ASSERT_EQ(sequence.finished.size(), 1u);
    EXPECT_EQ(sequence.num_after_finished, 0);
    EXPECT_EQ(sequence.finished[0].seed(), SequenceSeed(42, index));
    EXPECT_EQ(sequence.finished[0].usage().completion_tokens(), 40u);
    EXPECT_EQ(sequence.finished[0].usage().prompt_tokens(), 2u);
    EXPECT_EQ(sequence.text.substr(0, 2), "ab");
    texts.insert(sequence.text);
    const v1::GeneratedSequence& same = whole.sequences(static_cast<int>(index));
    EXPECT_EQ(same.index(), index);
    EXPECT_EQ(same.text(), sequence.text);
    EXPECT_EQ(same.finished().seed(), sequence.finished[0].seed());
    auto alone = request;
    alone.clear_num_sequences();
    alone.mutable_sampling()->set_seed(sequence.finished[0].seed());
    const v1::GenerateResponse answer = Generate(frontend, alone);
    ASSERT_EQ(answer.sequences_size(), 1);
    EXPECT_EQ(answer.sequences(0).text(), sequence.text) << index;
    EXPECT_TRUE(std::equal(sequence.token_ids.begin(), sequence.token_ids.end(),
                           answer.sequences(0).token_ids().begin(),
                           answer.sequences(0).token_ids().end()));
  }
  EXPECT_EQ(texts.size(), 5u);
  EXPECT_TRUE(frontend.WaitUntilIdle());
}

TEST(Sequences, AStopStringEndsOneAndLeavesTheOthers) {
  Frontend frontend({.answer = "", .is_random = true});
  auto request = ParseRequest(R"(text: 'ab' num_sequences: 4 sampling { temperature: 1 seed: 3 }
      stopping { max_new_tokens: 60 ignore_eos: true })");
  const v1::GenerateResponse free = Generate(frontend, request);
  ASSERT_EQ(free.sequences_size(), 4);
  // Two bytes that end the second answer.
  const std::string& second = free.sequences(1).text();
  std::size_t at = 10;
  while (at + 2 < second.size() && (second[at] & 0x80 || second[at + 1] & 0x80)) ++at;
  const std::string stop = second.substr(at, 2);
  request.mutable_stopping()->add_stop_strings(stop);
  const StreamRead read = ReadStreamOf(frontend, request);
  ASSERT_TRUE(read.status.ok()) << read.status.error_message();
  ASSERT_EQ(read.sequences.size(), 4u);
  for (const auto& [index, sequence] : read.sequences) {
    const std::string& text = free.sequences(static_cast<int>(index)).text();
    const bool stops = text.find(stop) != std::string::npos;
    EXPECT_EQ(sequence.text, text.substr(0, text.find(stop)));
    EXPECT_EQ(sequence.finished.at(0).reason(), stops ? v1::STOP_STRING : v1::LENGTH);
    EXPECT_EQ(sequence.finished.at(0).stop_string(), stops ? stop : "");
  }
  EXPECT_EQ(read.sequences.at(1).finished[0].reason(), v1::STOP_STRING);
  EXPECT_TRUE(frontend.WaitUntilIdle());
}

TEST(Sequences, CancellingEndsAll) {
  Frontend frontend({.answer = "", .mode = kManual, .max_num_seqs = 2});
  grpc::ClientContext context;
  auto reader =
      frontend.inference().GenerateStream(&context, ParseRequest("text: 'x' num_sequences: 4"));
  EXPECT_TRUE(frontend.WaitForRequests(4));
  context.TryCancel();
  EXPECT_EQ(Read(*reader).status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(frontend.WaitUntilIdle());
}

TEST(Sequences, AbortEndsAllWithWhatTheyHave) {
  Frontend frontend({.answer = "", .mode = kManual, .max_num_seqs = 2});
  grpc::ClientContext context;
  auto reader = frontend.inference().GenerateStream(
      &context, ParseRequest("text: 'x' request_id: 'mine' num_sequences: 3"));
  EXPECT_TRUE(frontend.WaitForRequests(3));
  v1::AbortRequest abort;
  v1::AbortResponse response;
  abort.set_request_id("mine");
  grpc::ClientContext abort_context;
  EXPECT_TRUE(frontend.admin().Abort(&abort_context, abort, &response).ok());
  const StreamRead read = Read(*reader);
  EXPECT_TRUE(read.status.ok()) << read.status.error_message();
  EXPECT_EQ(read.started.size(), 1u);
  EXPECT_EQ(read.num_before_started, 0);
  ASSERT_EQ(read.sequences.size(), 3u);
  for (const auto& [index, sequence] : read.sequences) {
    EXPECT_EQ(sequence.finished.at(0).reason(), v1::ABORTED) << index;
  }
  EXPECT_TRUE(frontend.WaitUntilIdle());
}

TEST(Sequences, TheLogHasTheTokensOfAllAlsoWhereTheyFail) {
  Frontend frontend({.answer = "", .mode = kManual});
  grpc::ClientContext context;
  ::testing::internal::CaptureStdout();
  auto reader = frontend.inference().GenerateStream(
      &context, ParseRequest("text: 'x' request_id: 'mine' num_sequences: 3"));
  EXPECT_TRUE(frontend.WaitForRequests(3));
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(frontend.pool().WaitAndRunStep());
  frontend.pool().Fail(absl::UnavailableError("gone"));
  EXPECT_EQ(Read(*reader).status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(::testing::internal::GetCapturedStdout(), HasSubstr("\"completion_tokens\":12,"));
}

TEST(Sequences, TheTimeLimitEndsAll) {
  Frontend frontend({.answer = "", .mode = kManual, .max_num_seqs = 2});
  const StreamRead read = ReadStreamOf(
      frontend, ParseRequest("text: 'x' num_sequences: 3 stopping { time_limit_ms: 50 }"));
  EXPECT_TRUE(read.status.ok()) << read.status.error_message();
  ASSERT_EQ(read.sequences.size(), 3u);
  for (const auto& [index, sequence] : read.sequences) {
    EXPECT_EQ(sequence.finished.at(0).reason(), v1::TIME_LIMIT) << index;
    EXPECT_EQ(sequence.text, "") << index;
  }
}

TEST(Sequences, OneThatIsRefusedRefusesTheCallAndFreesTheOthers) {
  Frontend frontend({.answer = "", .max_num_seqs = 2, .max_queued_requests = 3});
  const StreamRead read = ReadStreamOf(frontend, ParseRequest("text: 'x' num_sequences: 50"));
  EXPECT_EQ(read.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(HasRetryInfo(read.status));
  EXPECT_TRUE(frontend.WaitUntilIdle());
  const auto request = ParseRequest("text: 'x' request_id: 'again' stopping { max_new_tokens: 2 }");
  EXPECT_TRUE(ReadStreamOf(frontend, request).status.ok());
}

TEST(Sequences, ASlowReaderGetsEachSequenceWhole) {
  Frontend frontend({.answer = "", .is_random = true});
  const auto request =
      ParseRequest(R"(text: 'x' num_sequences: 8 sampling { temperature: 1 seed: 9 }
      stopping { max_new_tokens: 500 ignore_eos: true })");
  grpc::ClientContext context;
  auto reader = frontend.inference().GenerateStream(&context, request);
  // The answers are complete before the client reads any of them.
  while (frontend.engine().Snapshot().generated_tokens < 8 * 500) std::this_thread::yield();
  EXPECT_TRUE(frontend.WaitUntilIdle());
  const StreamRead read = Read(*reader);
  ASSERT_TRUE(read.status.ok()) << read.status.error_message();
  const v1::GenerateResponse whole = Generate(frontend, request);
  for (const auto& [index, sequence] : read.sequences) {
    EXPECT_EQ(sequence.num_after_finished, 0);
    EXPECT_EQ(sequence.text, whole.sequences(static_cast<int>(index)).text()) << index;
    EXPECT_EQ(sequence.token_ids.size(), 500u);
  }
}

TEST(PromptLogprobs, AreInStartedWhichComesWhenTheWholePromptHasRun) {
  Frontend frontend({.answer = "ok", .max_num_batched_tokens = 16});
  const std::string prompt(100, 'p');
  for (const int num_sequences : {1, 3}) {
    auto request = ParseRequest("output { prompt_logprobs: 0 echo: true }");
    request.set_text(prompt);
    request.set_num_sequences(static_cast<uint32_t>(num_sequences));
    const StreamRead read = ReadStreamOf(frontend, request);
    ASSERT_TRUE(read.status.ok()) << read.status.error_message();
    EXPECT_EQ(read.num_before_started, 0);
    ASSERT_EQ(read.started.size(), 1u);
    const auto& tokens = read.started[0].prompt_tokens();
    ASSERT_EQ(tokens.size(), 100);
    EXPECT_FALSE(tokens[0].has_logprob() || tokens[0].has_rank());
    for (int i = 1; i < tokens.size(); ++i) {
      EXPECT_EQ(tokens[i].bytes(), "p");
      EXPECT_EQ(tokens[i].logprob(), -static_cast<float>(i));  // as the pool reports it
      EXPECT_EQ(tokens[i].rank(), 1u);
    }
    ASSERT_EQ(read.sequences.size(), static_cast<std::size_t>(num_sequences));
    for (const auto& [index, sequence] : read.sequences) {
      EXPECT_EQ(sequence.text, prompt + "ok") << index;
    }
    EXPECT_EQ(Generate(frontend, request).prompt_tokens_size(), 100);
  }
}

TEST(PromptLogprobs, APromptOfOneTokenHasNone) {
  Frontend frontend({.answer = "ok"});
  const auto response = Generate(frontend, ParseRequest("text: 'x' output { prompt_logprobs: 2 }"));
  ASSERT_EQ(response.prompt_tokens_size(), 1);
  EXPECT_FALSE(response.prompt_tokens(0).has_logprob());
  EXPECT_EQ(response.sequences(0).text(), "ok");
}

}  // namespace
}  // namespace lockstep::server
