#include "server/app/pool_setup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/testing/temporary_directory.h"

namespace lockstep::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class PoolSetupTest : public ::testing::Test {
 protected:
  PoolSetupTest() {
    options_.model_dir = "/models/llama";
    options_.tensor_parallel_size = 2;
    model_.dtype = "bfloat16";
    model_.max_model_len = 4096;
  }
  absl::StatusOr<PoolOptions> Make() const {
    return MakePoolOptions(options_, model_, surroundings_);
  }

  ServerOptions options_;
  CheckedModel model_;
  PoolSurroundings surroundings_{"/bin/lockstep-worker", "secret", 8, 8};
};

TEST_F(PoolSetupTest, RanksShareTheCores) {
  EXPECT_EQ(Make()->configure.num_threads(), 4);
  options_.tensor_parallel_size = 4;
  surroundings_.num_available_cores = 3;
  EXPECT_EQ(Make()->configure.num_threads(), 1);
  options_.threads_per_rank = 6;
  EXPECT_EQ(Make()->configure.num_threads(), 6);
}

TEST_F(PoolSetupTest, WorkersGetTheResolvedModel) {
  const auto pool = Make();
  EXPECT_EQ(pool->world_size, 2);
  EXPECT_EQ(pool->configure.model_dir(), "/models/llama");
  EXPECT_EQ(pool->configure.dtype(), "bfloat16");
  EXPECT_EQ(pool->configure.max_model_len(), 4096);
  EXPECT_TRUE(pool->configure.has_tie_word_embeddings());
  EXPECT_FALSE(pool->configure.tie_word_embeddings());
  model_.fingerprint = 77;
  EXPECT_EQ(Make()->configure.checkpoint_fingerprint(), 77);
  model_.config.tie_word_embeddings = true;
  EXPECT_TRUE(Make()->configure.tie_word_embeddings());
}

TEST_F(PoolSetupTest, WorkersGetTheDeviceAndItsShare) {
  EXPECT_EQ(Make()->configure.device(), "cpu");
  EXPECT_FALSE(Make()->configure.enforce_eager());
  options_.device = "cuda";
  options_.gpu_memory_utilization = 0.8;
  options_.enforce_eager = true;
  const auto pool = Make();
  EXPECT_EQ(pool->configure.device(), "cuda");
  EXPECT_EQ(pool->configure.gpu_memory_utilization(), 0.8);
  EXPECT_TRUE(pool->configure.enforce_eager());
}

TEST_F(PoolSetupTest, ProfilesAreOfGpus) {
  EXPECT_EQ(Make()->configure.profiles_size(), 0);
  options_.profile_dir = "/profiles";
  options_.device = "cuda";
  options_.profiles = {{.first = 7, .count = 3}};
  const auto pool = Make();
  EXPECT_EQ(pool->configure.profile_dir(), "/profiles");
  ASSERT_EQ(pool->configure.profiles_size(), 1);
  EXPECT_EQ(pool->configure.profiles(0).first_step(), 7);
  EXPECT_EQ(pool->configure.profiles(0).num_steps(), 3);
}

TEST_F(PoolSetupTest, AWaitingRankGivesUpBeforeTheFrontend) {
  options_.step_timeout = absl::Seconds(100);
  EXPECT_EQ(Make()->configure.collective_timeout_ms(), 80'000);
}

TEST_F(PoolSetupTest, OnlyExternalWorkersUseTheTokenAndTheirOwnCores) {
  EXPECT_EQ(Make()->token, "");
  options_.external_workers = true;
  EXPECT_EQ(Make()->token, "secret");
  EXPECT_EQ(Make()->configure.num_threads(), 0);
}

TEST_F(PoolSetupTest, PinningNeedsACoreForEachThread) {
  EXPECT_FALSE(Make()->configure.has_own_cores());
  options_.pin_cores = true;
  EXPECT_TRUE(Make()->configure.has_own_cores());
  options_.threads_per_rank = 5;
  EXPECT_THAT(Make().status().message(), AllOf(HasSubstr("--pin-cores"), HasSubstr("8 cores")));
}

TEST(FindWorkerBinaryTest, LooksBesideTheServerAndSaysWhereInVain) {
  const testing::TemporaryDirectory directory;
  const std::filesystem::path link = directory.path() / "exe";
  std::string message(FindWorkerBinary(link).status().message());
  EXPECT_THAT(message, AllOf(HasSubstr("cannot read " + link.string()), HasSubstr("mount /proc")));
  std::filesystem::create_symlink(directory.path() / "bin/lockstep-server", link);
  message = std::string(FindWorkerBinary(link).status().message());
  const std::filesystem::path worker = directory.path() / "bin/lockstep-worker";
  EXPECT_THAT(message, HasSubstr("no worker program at " + worker.string()));
  directory.Write("bin/lockstep-worker", "");
  std::filesystem::permissions(worker, std::filesystem::perms::owner_all);
  EXPECT_EQ(FindWorkerBinary(link).value_or(""), worker);
}

}  // namespace
}  // namespace lockstep::server
