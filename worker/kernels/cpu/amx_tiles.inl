// The processor's AMX tile registers, as amx_block.inl describes them. Included inside the unnamed
// namespace of files that are compiled for AMX.

// Tile registers 0 to 7. The intrinsics want literal register numbers.
#define LOCKSTEP_FOR_TILE(t, action) \
  if constexpr ((t) == 0) {          \
    action(0);                       \
  } else if constexpr ((t) == 1) {   \
    action(1);                       \
  } else if constexpr ((t) == 2) {   \
    action(2);                       \
  } else if constexpr ((t) == 3) {   \
    action(3);                       \
  } else if constexpr ((t) == 4) {   \
    action(4);                       \
  } else if constexpr ((t) == 5) {   \
    action(5);                       \
  } else if constexpr ((t) == 6) {   \
    action(6);                       \
  } else {                           \
    action(7);                       \
  }

struct ProcessorTiles {
  template <int t>
  static void Zero() {
#define LOCKSTEP_ZERO(n) _tile_zero(n)
    LOCKSTEP_FOR_TILE(t, LOCKSTEP_ZERO)
#undef LOCKSTEP_ZERO
  }

  template <int t>
  static void Load(const void* p, int64_t stride_bytes) {
#define LOCKSTEP_LOAD(n) _tile_loadd(n, p, stride_bytes)
    LOCKSTEP_FOR_TILE(t, LOCKSTEP_LOAD)
#undef LOCKSTEP_LOAD
  }

  template <int t>
  static void Store(void* p, int64_t stride_bytes) {
#define LOCKSTEP_STORE(n) _tile_stored(n, p, stride_bytes)
    LOCKSTEP_FOR_TILE(t, LOCKSTEP_STORE)
#undef LOCKSTEP_STORE
  }

  template <int row, int column>
  static void Dot() {
    static_assert(row < 2 && column < 2);
    if constexpr (row == 0 && column == 0) {
      _tile_dpbf16ps(0, 4, 6);
    } else if constexpr (row == 0) {
      _tile_dpbf16ps(1, 4, 7);
    } else if constexpr (column == 0) {
      _tile_dpbf16ps(2, 5, 6);
    } else {
      _tile_dpbf16ps(3, 5, 7);
    }
  }
};

// The memory operand of ldtilecfg for palette 1.
struct alignas(64) TileConfiguration {
  uint8_t palette;
  uint8_t start_row;
  uint8_t reserved[14];
  uint16_t bytes_per_row[16];
  uint8_t rows[16];
};
static_assert(sizeof(TileConfiguration) == 64);

void EnterThread() {
  TileConfiguration configuration = {};
  configuration.palette = 1;
  for (int tile = 0; tile < 8; ++tile) {
    configuration.bytes_per_row[tile] = 64;
    configuration.rows[tile] = 16;
  }
  // GCC's intrinsic does not tell the compiler that the memory is read.
  __asm__ volatile("" : : "r"(&configuration) : "memory");
  _tile_loadconfig(&configuration);
}

void LeaveThread() { _tile_release(); }
