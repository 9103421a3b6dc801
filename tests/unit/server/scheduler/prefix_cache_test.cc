#include "server/scheduler/prefix_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr size_t kNoLimit = 100;

class PrefixCacheTest : public ::testing::Test {
 protected:
  // Caches `blocks` for the whole blocks of `tokens`.
  void InsertAll(const std::vector<int32_t>& tokens, const std::vector<uint32_t>& blocks,
                 absl::string_view salt = "") {
    PrefixCache::NodeId parent = PrefixCache::kRoot;
    for (size_t i = 0; i < blocks.size(); ++i) {
      ASSERT_TRUE(
          cache_.Insert(blocks[i], parent, absl::MakeConstSpan(tokens).subspan(2 * i, 2), salt));
      parent = cache_.node(blocks[i]);
    }
  }

  PrefixCache cache_{10, 2};
};

TEST_F(PrefixCacheTest, FindsTheLongestPrefixInWholeBlocks) {
  InsertAll({1, 2, 3, 4, 5, 6}, {7, 3, 5});
  EXPECT_THAT(cache_.Find({1, 2, 3, 4, 5, 6, 9}, "", kNoLimit), ElementsAre(7, 3, 5));
  EXPECT_THAT(cache_.Find({1, 2, 3, 4, 5}, "", kNoLimit), ElementsAre(7, 3));
  EXPECT_THAT(cache_.Find({1, 2, 3, 9, 5, 6}, "", kNoLimit), ElementsAre(7));
  EXPECT_THAT(cache_.Find({2, 1, 3, 4}, "", kNoLimit), IsEmpty());
  EXPECT_THAT(cache_.Find({1, 2, 3, 4}, "", 1), ElementsAre(7));
}

TEST_F(PrefixCacheTest, ABlockIsFoundAfterItsOwnPrefixAlone) {
  InsertAll({1, 2, 3, 4}, {0, 1});
  InsertAll({5, 6}, {2});
  EXPECT_THAT(cache_.Find({5, 6, 3, 4}, "", kNoLimit), ElementsAre(2));
  EXPECT_THAT(cache_.Find({3, 4}, "", kNoLimit), IsEmpty());
}

TEST_F(PrefixCacheTest, SaltsAreApart) {
  InsertAll({1, 2, 3, 4}, {0, 1}, "blue");
  EXPECT_THAT(cache_.Find({1, 2, 3, 4}, "", kNoLimit), IsEmpty());
  EXPECT_THAT(cache_.Find({1, 2, 3, 4}, "green", kNoLimit), IsEmpty());
  EXPECT_THAT(cache_.Find({1, 2, 3, 4}, "blue", kNoLimit), ElementsAre(0, 1));
}

TEST_F(PrefixCacheTest, TheFirstBlockOfATextStays) {
  InsertAll({1, 2}, {0});
  EXPECT_EQ(cache_.Insert(1, PrefixCache::kRoot, {1, 2}, ""), cache_.node(0));
  EXPECT_EQ(cache_.node(1), PrefixCache::kRoot);
  EXPECT_THAT(cache_.Find({1, 2}, "", kNoLimit), ElementsAre(0));
  EXPECT_EQ(cache_.num_cached(), 1);
}

TEST_F(PrefixCacheTest, NothingIsCachedBehindABlockThatIsErased) {
  InsertAll({1, 2}, {0});
  const PrefixCache::NodeId parent = cache_.node(0);
  cache_.Erase(0);
  EXPECT_EQ(cache_.Insert(1, parent, {3, 4}, ""), std::nullopt);
  EXPECT_EQ(cache_.num_cached(), 0U);
}

TEST_F(PrefixCacheTest, WhatWasBelowAnErasedBlockIsNotFoundAgain) {
  InsertAll({1, 2, 3, 4}, {0, 1});
  cache_.Erase(0);
  EXPECT_THAT(cache_.Find({1, 2, 3, 4}, "", kNoLimit), IsEmpty());
  // The same tokens in another block: what followed the old one was computed after the same tokens,
  // but belongs to a node that is gone.
  InsertAll({1, 2}, {5});
  EXPECT_THAT(cache_.Find({1, 2, 3, 4}, "", kNoLimit), ElementsAre(5));
  cache_.Erase(1);
  cache_.Erase(1);
  EXPECT_EQ(cache_.num_cached(), 1);
}

}  // namespace
}  // namespace lockstep::server
