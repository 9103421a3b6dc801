// Prefixes that sequences share, through the cache and within groups.
#include <gtest/gtest.h>

#include "tests/unit/server/scheduler/scheduler_harness.h"

namespace lockstep::server {
namespace {

SchedulerOptions TwoChunkOptions() {
  SchedulerOptions options = SmallOptions();
  options.max_num_batched_tokens = 32;
  return options;
}

std::vector<int32_t> Tokens(int32_t num_tokens, int32_t first = 0) {
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < num_tokens; ++i) tokens.push_back((first + 5 * i) % 64);
  return tokens;
}

class SchedulerCache : public ::testing::Test {
 protected:
  explicit SchedulerCache(const SchedulerOptions& options = TwoChunkOptions(),
                          uint32_t num_blocks = 32)
      : harness_(options, num_blocks) {
    harness_.Start();
  }

  EngineRequest MakeRequest(std::vector<int32_t> prompt, int32_t max_new_tokens = 2) {
    EngineRequest request = harness_.MakeRequest(1, max_new_tokens);
    request.sampling.set_num_prompt_tokens(static_cast<uint32_t>(prompt.size()));
    request.prompt = std::move(prompt);
    return request;
  }

  // Runs it alone, checks its answer, and says how many of its tokens were cached.
  int32_t CachedTokens(EngineRequest request) {
    const RequestHandle handle = harness_.Add(std::move(request));
    harness_.RunAll();
    ExpectAnswer(handle);
    return harness_.outcome(handle).completion->num_cached_tokens;
  }

  void ExpectAnswer(RequestHandle handle) {
    const Outcome& outcome = harness_.outcome(handle);
    ASSERT_TRUE(outcome.completion.has_value());
    EXPECT_TRUE(outcome.completion->status.ok()) << outcome.completion->status;
    Completion alone;
    if (outcome.request->logits == worker::v1::LOGITS_NONE) {
      EXPECT_EQ(outcome.answer, harness_.AnswerAlone(*outcome.request, &alone));
    }
  }

  SchedulerHarness harness_;
};

TEST_F(SchedulerCache, APromptThatWasRunBeforeIsFoundUpToItsLastToken) {
  EXPECT_EQ(CachedTokens(MakeRequest(Tokens(12))), 0);
  // Of three full blocks the last token has to be run.
  EXPECT_EQ(CachedTokens(MakeRequest(Tokens(12))), 8);
  EXPECT_EQ(CachedTokens(MakeRequest(Tokens(13))), 12);
  EXPECT_EQ(CachedTokens(MakeRequest(Tokens(4))), 0);
  EXPECT_EQ(CachedTokens(MakeRequest(Tokens(12, 1))), 0);
  EXPECT_EQ(harness_.scheduler.num_used_blocks(), 0);
  EXPECT_EQ(harness_.scheduler.num_cache_queries(), 12 + 12 + 13 + 4 + 12);
  EXPECT_EQ(harness_.scheduler.num_cache_hits(), 8 + 12);
}

TEST_F(SchedulerCache, AnAnswerIsFoundByTheTurnThatFollows) {
  EngineRequest first = MakeRequest(Tokens(6), 8);
  Completion alone;
  const std::vector<int32_t> answer = harness_.AnswerAlone(first, &alone);
  CachedTokens(first);
  std::vector<int32_t> conversation = first.prompt;
  conversation.insert(conversation.end(), answer.begin(), answer.end());
  conversation.push_back(1);
  // 13 of its positions were run, which fill three blocks: the last token of an answer never is.
  EXPECT_EQ(CachedTokens(MakeRequest(conversation)), 12);
}

// Its last block runs again, though another one holds the same tokens: what comes after is found.
TEST_F(SchedulerCache, TheAnswerToAPromptOfWholeBlocksIsFoundThoughItsPromptWasCachedBefore) {
  EXPECT_EQ(CachedTokens(MakeRequest(Tokens(12), /*max_new_tokens=*/2)), 0);
  const RequestHandle second = harness_.Add(MakeRequest(Tokens(12), /*max_new_tokens=*/9));
  harness_.RunAll();
  std::vector<int32_t> turn = Tokens(12);
  const std::vector<int32_t>& answer = harness_.outcome(second).answer;
  turn.insert(turn.end(), answer.begin(), answer.end());
  EXPECT_EQ(CachedTokens(MakeRequest(turn)), 20);
}

TEST_F(SchedulerCache, PromptsThatRunBesideEachOtherBothFillTheCache) {
  // Two users of one system prompt, in one step.
  std::vector<RequestHandle> handles;
  std::vector<std::vector<int32_t>> turns;
  for (const int32_t user : {50, 60}) {
    turns.push_back(Tokens(8));
    for (int32_t i = 0; i < 6; ++i) turns.back().push_back((user + i) % 64);
    handles.push_back(harness_.Add(MakeRequest(turns.back(), /*max_new_tokens=*/8)));
  }
  harness_.RunAll();
  for (size_t i = 0; i < handles.size(); ++i) {
    const std::vector<int32_t>& answer = harness_.outcome(handles[i]).answer;
    turns[i].insert(turns[i].end(), answer.begin(), answer.end());
    EXPECT_EQ(CachedTokens(MakeRequest(turns[i])), 20) << "user " << i;
  }
}

class SchedulerBrokenCache : public SchedulerCache {
 protected:
  // The second token of every answer has logits that are not finite.
  SchedulerBrokenCache() : broken_(TwoChunkOptions(), 32, {5, -1}) { broken_.Start(); }
  SchedulerHarness broken_;
};

// What made them so may lie in its blocks, or in those that it found.
TEST_F(SchedulerBrokenCache, NothingOfASequenceWhoseLogitsAreNotFiniteIsFoundAgain) {
  for (int i = 0; i < 2; ++i) {
    const RequestHandle fine = broken_.Add(MakeRequest(Tokens(12), /*max_new_tokens=*/1));
    broken_.RunAll();
    EXPECT_TRUE(broken_.outcome(fine).completion->status.ok());
    EXPECT_EQ(broken_.outcome(fine).completion->num_cached_tokens, 0) << i;
    const RequestHandle broken = broken_.Add(MakeRequest(Tokens(12), /*max_new_tokens=*/4));
    broken_.RunAll();
    EXPECT_EQ(broken_.outcome(broken).completion->num_cached_tokens, 8) << i;
    EXPECT_EQ(broken_.outcome(broken).completion->status.code(), absl::StatusCode::kInternal);
  }
  EXPECT_EQ(broken_.scheduler.num_used_blocks(), 0U);
}

TEST_F(SchedulerCache, OnlyTheSameSaltShares) {
  EngineRequest salted = MakeRequest(Tokens(12));
  salted.cache_salt = "blue";
  EXPECT_EQ(CachedTokens(salted), 0);
  EXPECT_EQ(CachedTokens(MakeRequest(Tokens(12))), 0);
  EXPECT_EQ(CachedTokens(salted), 8);
  salted.cache_salt = "green";
  EXPECT_EQ(CachedTokens(salted), 0);
}

TEST_F(SchedulerCache, BypassNeitherReadsNorFills) {
  EngineRequest bypassing = MakeRequest(Tokens(12));
  bypassing.cache_bypass = true;
  CachedTokens(bypassing);
  EXPECT_EQ(CachedTokens(MakeRequest(Tokens(12))), 0);
  EXPECT_EQ(CachedTokens(bypassing), 0);
}

TEST_F(SchedulerCache, PositionsWhoseLogitsAreWantedAreRun) {
  CachedTokens(MakeRequest(Tokens(12)));
  EngineRequest all = MakeRequest(Tokens(12));
  all.logits = worker::v1::LOGITS_ALL;
  EXPECT_EQ(CachedTokens(all), 0);
  EngineRequest last = MakeRequest(Tokens(12));
  last.logits = worker::v1::LOGITS_LAST;
  EXPECT_EQ(CachedTokens(last), 8);
  EngineRequest logprobs = MakeRequest(Tokens(12));
  logprobs.num_prompt_logprobs = 0;
  EXPECT_EQ(CachedTokens(logprobs), 0);
}

TEST_F(SchedulerCache, RunningSequencesShareBlocksAndTheirLifeEndsWithTheLast) {
  CachedTokens(MakeRequest(Tokens(16)));
  harness_.Add(MakeRequest(Tokens(16), 4));
  harness_.Add(MakeRequest(Tokens(16), 12));
  harness_.Schedule();
  // Three shared blocks, and two of its own for each.
  EXPECT_EQ(harness_.scheduler.num_used_blocks(), 3 + 2);
  harness_.RunAll();
  for (const auto& [handle, outcome] : harness_.outcomes) ExpectAnswer(handle);
  EXPECT_EQ(harness_.scheduler.num_used_blocks(), 0);
}

TEST_F(SchedulerCache, AGroupRunsItsPromptOnce) {
  std::vector<RequestHandle> handles;
  for (int i = 0; i < 3; ++i) {
    EngineRequest request = MakeRequest(Tokens(22), 6);
    request.prompt_group = 9;
    request.cache_bypass = true;
    request.sampling.set_temperature(1);
    request.sampling.set_seed(static_cast<uint64_t>(i));
    handles.push_back(harness_.Add(request));
  }
  harness_.RunAll();
  int32_t num_cached = 0;
  for (RequestHandle handle : handles) {
    ExpectAnswer(handle);
    num_cached += harness_.outcome(handle).completion->num_cached_tokens;
  }
  EXPECT_EQ(num_cached, 2 * 20);
  EngineRequest other = MakeRequest(Tokens(22));
  EXPECT_EQ(CachedTokens(other), 0);
  other.prompt_group = 10;
  other.cache_bypass = true;
  EXPECT_EQ(CachedTokens(other), 0);
}

TEST_F(SchedulerCache, AGroupTakesThePromptFromTheOneThatReportsIt) {
  std::vector<RequestHandle> handles;
  for (int i = 0; i < 3; ++i) {
    EngineRequest request = MakeRequest(Tokens(22), 2);
    request.prompt_group = 9;
    if (i == 0) request.num_prompt_logprobs = 0;
    handles.push_back(harness_.Add(request));
  }
  harness_.RunAll();
  EXPECT_EQ(harness_.outcome(handles[0]).completion->num_cached_tokens, 0);
  EXPECT_EQ(harness_.outcome(handles[1]).completion->num_cached_tokens, 20);
  EXPECT_EQ(harness_.outcome(handles[2]).completion->num_cached_tokens, 20);
}

TEST_F(SchedulerCache, AGroupGoesOnWithoutTheOneThatBegan) {
  std::vector<RequestHandle> handles;
  for (int i = 0; i < 3; ++i) {
    EngineRequest request = MakeRequest(Tokens(40), 3);
    request.prompt_group = 9;
    handles.push_back(harness_.Add(request));
  }
  // The first chunk of the first.
  harness_.Schedule();
  EXPECT_EQ(harness_.scheduler.num_running(), 1);
  harness_.scheduler.Finish(handles[0], v1::ABORTED, {});
  harness_.RunAll();
  ExpectAnswer(handles[1]);
  ExpectAnswer(handles[2]);
  EXPECT_EQ(harness_.scheduler.num_used_blocks(), 0);
}

TEST_F(SchedulerCache, AGroupHoldsNobodyElseUp) {
  for (int i = 0; i < 3; ++i) {
    EngineRequest request = MakeRequest(Tokens(20), 3);
    request.prompt_group = 9;
    harness_.Add(request);
  }
  const RequestHandle other = harness_.Add(MakeRequest(Tokens(5, 3), 3));
  const auto plan = harness_.Schedule();
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->admitted_size(), 2);
  EXPECT_EQ(harness_.outcome(other).num_scheduled, 1);
  harness_.RunAll();
}

class SchedulerCacheOff : public SchedulerCache {
 protected:
  static SchedulerOptions Options() {
    SchedulerOptions options = TwoChunkOptions();
    options.enable_prefix_caching = false;
    return options;
  }
  SchedulerCacheOff() : SchedulerCache(Options()) {}
};

TEST_F(SchedulerCacheOff, NothingIsFound) {
  CachedTokens(MakeRequest(Tokens(12)));
  EXPECT_EQ(CachedTokens(MakeRequest(Tokens(12))), 0);
  EXPECT_EQ(harness_.scheduler.num_cache_queries(), 0);
}

class SchedulerSharedLength : public SchedulerCache {
 protected:
  static SchedulerOptions Options() {
    SchedulerOptions options = TwoChunkOptions();
    options.max_shared_len = 10;
    return options;
  }
  SchedulerSharedLength() : SchedulerCache(Options()) {}
};

TEST_F(SchedulerSharedLength, BoundsWhatIsShared) {
  EXPECT_EQ(CachedTokens(MakeRequest(Tokens(10), 20)), 0);
  EXPECT_EQ(CachedTokens(MakeRequest(Tokens(10), 20)), 8);
  // Longer prompts have other keys from the first position on.
  EXPECT_EQ(CachedTokens(MakeRequest(Tokens(11))), 0);
  EXPECT_EQ(CachedTokens(MakeRequest(Tokens(11))), 0);
}

class SchedulerTinyCache : public SchedulerCache {
 protected:
  SchedulerTinyCache() : SchedulerCache(TwoChunkOptions(), 8) {}
};

TEST_F(SchedulerTinyCache, KeptBlocksAreReusedOldestFirstAndNeverStandInTheWay) {
  CachedTokens(MakeRequest(Tokens(17)));
  CachedTokens(MakeRequest(Tokens(9, 1)));
  EXPECT_EQ(harness_.scheduler.num_used_blocks(), 0);
  // Seven blocks: the two without content, the four of what was used longest ago, and the end of
  // what was used after it.
  CachedTokens(MakeRequest(Tokens(26, 2)));
  EXPECT_EQ(CachedTokens(MakeRequest(Tokens(26, 2))), 24);
  EXPECT_EQ(CachedTokens(MakeRequest(Tokens(9, 1))), 4);
}

TEST_F(SchedulerTinyCache, AGroupsOwnBlocksAreReusedBeforeThoseThatOthersMayFind) {
  CachedTokens(MakeRequest(Tokens(9)));
  for (int i = 0; i < 2; ++i) {
    EngineRequest request = MakeRequest(Tokens(13, 1));
    request.prompt_group = 9;
    request.cache_bypass = true;
    harness_.Add(request);
  }
  harness_.RunAll();
  // Five blocks: the three without content, and two of the group's three.
  CachedTokens(MakeRequest(Tokens(17, 2)));
  EXPECT_EQ(CachedTokens(MakeRequest(Tokens(9))), 8);
}

TEST_F(SchedulerTinyCache, AGroupsOwnBlocksAreReusedFromTheirEnd) {
  std::vector<RequestHandle> handles;
  for (int i = 0; i < 2; ++i) {
    EngineRequest request = MakeRequest(Tokens(17, 1), 1);
    request.prompt_group = 9;
    request.cache_bypass = true;
    handles.push_back(harness_.Add(request));
  }
  harness_.Schedule();
  harness_.Apply();
  ASSERT_TRUE(harness_.outcome(handles[0]).completion.has_value());
  // Six blocks: the four without content, and two of the group's four.
  EngineRequest other = MakeRequest(Tokens(21, 2));
  other.priority = 1;
  CachedTokens(other);
  EXPECT_EQ(harness_.outcome(handles[1]).completion->num_cached_tokens, 8);
}

}  // namespace
}  // namespace lockstep::server
