#include "server/metrics/state_collector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include "tests/unit/server/metrics/idle_engine.h"

namespace lockstep::server {
namespace {

using ::testing::HasSubstr;

TEST(StateCollector, ReadsEngineAndPoolWhenAsked) {
  IdleEngine engine;
  IdlePool pool;
  const StateCollector collector(engine, pool, "1.2.3");
  engine.snapshot.num_running = 3;
  engine.snapshot.num_waiting = 2;
  engine.snapshot.kv_blocks_total = 100;
  engine.snapshot.kv_blocks_used = 25;
  engine.snapshot.num_waiting_tokens = 77;
  engine.snapshot.prompt_tokens = 1234567;
  engine.snapshot.generated_tokens = 89;
  engine.snapshot.preemptions = 6;
  engine.snapshot.held_back = 5;
  engine.snapshot.prefix_cache_queries = 400;
  engine.snapshot.prefix_cache_hits = 300;
  pool.ranks.resize(2);
  pool.ranks[1].set_rank(1);
  pool.ranks[1].mutable_step_age()->set_seconds(1);
  pool.ranks[1].mutable_step_age()->set_nanos(500'000'000);
  v1::StartPhase& weights = *pool.ranks[1].add_start_phases();
  weights.set_name("weights");
  weights.mutable_duration()->set_seconds(2);
  weights.mutable_duration()->set_nanos(500'000'000);
  const std::string text = prometheus::TextSerializer().Serialize(collector.Collect());
  EXPECT_THAT(text, HasSubstr("lockstep_requests_running 3\n"));
  EXPECT_THAT(text, HasSubstr("lockstep_requests_waiting 2\n"));
  EXPECT_THAT(text, HasSubstr("lockstep_waiting_tokens 77\n"));
  EXPECT_THAT(text, HasSubstr("lockstep_kv_cache_usage_ratio 0.25\n"));
  EXPECT_THAT(text, HasSubstr("lockstep_kv_cache_blocks 100\n"));
  EXPECT_THAT(text, HasSubstr("lockstep_prompt_tokens_total 1234567\n"));
  EXPECT_THAT(text, HasSubstr("lockstep_generation_tokens_total 89\n"));
  EXPECT_THAT(text, HasSubstr("lockstep_prefix_cache_queries_total 400\n"));
  EXPECT_THAT(text, HasSubstr("lockstep_prefix_cache_hits_total 300\n"));
  EXPECT_THAT(text, HasSubstr("lockstep_preemptions_total 6\n"));
  EXPECT_THAT(text, HasSubstr("lockstep_guides_held_back_total 5\n"));
  EXPECT_THAT(text, HasSubstr("lockstep_rank_step_age_seconds{rank=\"1\"} 1.5\n"));
  EXPECT_THAT(text,
              HasSubstr("lockstep_startup_phase_seconds{phase=\"weights\",rank=\"1\"} 2.5\n"));
  EXPECT_THAT(text, HasSubstr("lockstep_pool_ready 1\n"));
  EXPECT_THAT(text, HasSubstr("lockstep_build_info{version=\"1.2.3\"} 1\n"));
}

TEST(StateCollector, AnEmptyPoolIsNotFull) {
  IdleEngine engine;
  IdlePool pool;
  pool.state = v1::POOL_STATE_LOADING;
  const std::string text =
      prometheus::TextSerializer().Serialize(StateCollector(engine, pool, "1").Collect());
  EXPECT_THAT(text, HasSubstr("lockstep_kv_cache_usage_ratio 0\n"));
  EXPECT_THAT(text, HasSubstr("lockstep_pool_ready 0\n"));
}

}  // namespace
}  // namespace lockstep::server
