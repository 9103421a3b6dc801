// A model of the AMX tile registers, so that what is written for them is checked on processors
// without AMX.
#ifndef LOCKSTEP_TESTS_UNIT_WORKER_KERNELS_AMX_MODEL_TILES_H_
#define LOCKSTEP_TESTS_UNIT_WORKER_KERNELS_AMX_MODEL_TILES_H_

#include <cstdint>
#include <cstring>

namespace lockstep::worker::cpu {

// Eight tiles of 16 rows of 64 bytes, and TDPBF16PS as Intel's manual describes it.
struct ModelTiles {
  static inline thread_local unsigned char tiles[8][16][64];

  template <int t>
  static void Zero() {
    std::memset(tiles[t], 0, sizeof(tiles[t]));
  }
  template <int t>
  static void Load(const void* p, int64_t stride_bytes) {
    for (int row = 0; row < 16; ++row) {
      std::memcpy(tiles[t][row], static_cast<const char*>(p) + row * stride_bytes, 64);
    }
  }
  template <int t>
  static void LoadOnce(const void* p, int64_t stride_bytes) {
    Load<t>(p, stride_bytes);
  }
  template <int t>
  static void Store(void* p, int64_t stride_bytes) {
    for (int row = 0; row < 16; ++row) {
      std::memcpy(static_cast<char*>(p) + row * stride_bytes, tiles[t][row], 64);
    }
  }
  static float Element(int t, int row, int index) {
    uint16_t bits;
    std::memcpy(&bits, tiles[t][row] + 2 * index, 2);
    const uint32_t wide = uint32_t{bits} << 16;
    float value;
    std::memcpy(&value, &wide, 4);
    return value;
  }
  template <int sums, int rows, int columns>
  static void Dot() {
    for (int row = 0; row < 16; ++row) {
      for (int column = 0; column < 16; ++column) {
        float even = 0.0f, odd = 0.0f, sum;
        for (int pair = 0; pair < 16; ++pair) {
          even += Element(rows, row, 2 * pair) * Element(columns, pair, 2 * column);
          odd += Element(rows, row, 2 * pair + 1) * Element(columns, pair, 2 * column + 1);
        }
        std::memcpy(&sum, tiles[sums][row] + 4 * column, 4);
        sum += even + odd;
        std::memcpy(tiles[sums][row] + 4 * column, &sum, 4);
      }
    }
  }
};

}  // namespace lockstep::worker::cpu

#endif  // LOCKSTEP_TESTS_UNIT_WORKER_KERNELS_AMX_MODEL_TILES_H_
