// The processor's AMX tile registers, as amx_layout.inl describes them. Included inside the unnamed
// namespace of files that are compiled for AMX.

// In assembly: the compiler's intrinsics do not tell it that loads read memory.
struct ProcessorTiles {
  template <int t>
  static void Zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(t));
  }
  template <int t>
  static void Load(const void* p, int64_t row_bytes) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(row_bytes), "i"(t) : "memory");
  }
  template <int t>
  static void LoadOnce(const void* p, int64_t row_bytes) {
    __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm%c2"
                     :
                     : "r"(p), "r"(row_bytes), "i"(t)
                     : "memory");
  }
  template <int t>
  static void Store(void* p, int64_t row_bytes) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)"
                     :
                     : "r"(p), "r"(row_bytes), "i"(t)
                     : "memory");
  }
  template <int sums, int rows, int columns>
  static void Dot() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0"
                     :
                     : "i"(sums), "i"(rows), "i"(columns));
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
