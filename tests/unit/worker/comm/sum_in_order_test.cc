#include "worker/comm/sum_in_order.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace lockstep::worker {
namespace {

TEST(SumInOrderTest, AddsInTheOrderOfThePartsInPlaceToo) {
  for (size_t num_parts = 1; num_parts <= 8; ++num_parts) {
    for (const int64_t size : {1, 7, 1024, 2500}) {
      std::vector<std::vector<float>> parts(num_parts);
      for (size_t part = 0; part < num_parts; ++part) {
        for (int64_t i = 0; i < size; ++i) {
          // Magnitudes for which the order of the additions changes the result.
          const auto mixed =
              static_cast<uint32_t>((i * 7919 + static_cast<int64_t>(part) * 104729) % 1000);
          parts[part].push_back(static_cast<float>(mixed) * (part % 2 == 0 ? 1e-6F : 1.0F));
        }
      }
      std::vector<float> expected = parts[0];
      for (size_t part = 1; part < num_parts; ++part) {
        for (size_t i = 0; i < expected.size(); ++i) expected[i] += parts[part][i];
      }
      for (size_t target = 0; target < num_parts; ++target) {
        std::vector<std::vector<float>> copy = parts;
        std::vector<const float*> pointers;
        for (const auto& part : copy) pointers.push_back(part.data());
        SumInOrder(pointers, size, copy[target].data());
        EXPECT_EQ(copy[target], expected) << num_parts << " parts, into " << target;
      }
    }
  }
}

}  // namespace
}  // namespace lockstep::worker
