#include "server/scheduler/block_pool.h"

#include <gtest/gtest.h>

#include <set>

namespace lockstep::server {
namespace {

TEST(BlockPool, HandsOutEveryBlockOnce) {
  BlockPool pool(3);
  const BlockTable table = [&pool] {
    BlockTable blocks;
    for (int i = 0; i < 3; ++i) blocks.push_back(pool.Allocate());
    return blocks;
  }();
  std::set<uint32_t> numbers;
  for (const BlockRef& block : table) numbers.insert(block.block());
  EXPECT_EQ(numbers, (std::set<uint32_t>{0, 1, 2}));
  EXPECT_EQ(pool.num_free(), 0);
  EXPECT_EQ(pool.num_used(), 3);
}

TEST(BlockPool, ABlockIsFreeWhenItsLastReferenceIsGone) {
  BlockPool pool(1);
  {
    const BlockRef first = pool.Allocate();
    {
      const BlockRef second = pool.Share(first.block());
      EXPECT_EQ(second.block(), first.block());
      EXPECT_EQ(pool.num_references(first.block()), 2);
    }
    EXPECT_EQ(pool.num_free(), 0);
  }
  EXPECT_EQ(pool.num_free(), 1);
}

TEST(BlockPool, AMovedReferenceCountsOnce) {
  BlockPool pool(2);
  {
    BlockRef first = pool.Allocate();
    BlockRef second = std::move(first);
    EXPECT_EQ(pool.num_references(second.block()), 1);
    second = pool.Allocate();
    EXPECT_EQ(pool.num_used(), 1);
  }
  EXPECT_EQ(pool.num_free(), 2);
}

TEST(BlockPool, TheBlockFreedLastIsReusedFirst) {
  BlockPool pool(4);
  const BlockRef kept = pool.Allocate();
  uint32_t freed = 0;
  {
    const BlockRef block = pool.Allocate();
    freed = block.block();
  }
  EXPECT_EQ(pool.Allocate().block(), freed);
}

TEST(BlockPool, KeptContentIsReusedAfterEmptyBlocksAndInTheOrderOfRelease) {
  std::vector<uint32_t> reused;
  BlockPool pool(4, [&reused](uint32_t block) { reused.push_back(block); });
  BlockTable table;
  for (int i = 0; i < 3; ++i) table.push_back(pool.Allocate());
  const std::vector<uint32_t> blocks = {table[0].block(), table[1].block(), table[2].block()};
  for (uint32_t block : blocks) pool.Keep(block, BlockPool::Reuse::kLast);
  ReleaseBlocks(table);
  EXPECT_EQ(pool.num_free(), 4);

  table.push_back(pool.Allocate());
  EXPECT_TRUE(reused.empty());
  // The end of a sequence goes before its beginning, and what is shared again goes last.
  {
    const BlockRef shared = pool.Share(blocks[2]);
  }
  for (int i = 0; i < 3; ++i) table.push_back(pool.Allocate());
  EXPECT_EQ(reused, (std::vector<uint32_t>{blocks[1], blocks[0], blocks[2]}));
}

TEST(BlockPool, ContentThatIsMarkedSoIsReusedBeforeOtherContent) {
  std::vector<uint32_t> reused;
  BlockPool pool(5, [&reused](uint32_t block) { reused.push_back(block); });
  BlockTable unmarked, marked;
  for (int i = 0; i < 2; ++i) unmarked.push_back(pool.Allocate());
  for (int i = 0; i < 3; ++i) marked.push_back(pool.Allocate());
  for (const BlockRef& block : unmarked) pool.Keep(block.block(), BlockPool::Reuse::kLast);
  for (const BlockRef& block : marked) pool.Keep(block.block(), BlockPool::Reuse::kFirst);
  ReleaseBlocks(unmarked);
  ReleaseBlocks(marked);
  BlockTable table;
  for (int i = 0; i < 5; ++i) table.push_back(pool.Allocate());
  // Of those marked too, the end of a sequence goes before its beginning.
  EXPECT_EQ(reused, (std::vector<uint32_t>{4, 3, 2, 1, 0}));
}

TEST(BlockPoolDeathTest, TakingFromAnEmptyPoolAborts) {
  BlockPool pool(1);
  const BlockRef block = pool.Allocate();
  EXPECT_DEATH(pool.Allocate(), "none free");
}

}  // namespace
}  // namespace lockstep::server
