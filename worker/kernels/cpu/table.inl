// The table of this instruction set. Included inside the unnamed namespace of each kernels_*.cc,
// after the other .inl files.

constexpr KernelTable kTable = {
    .gemm = {kFloatGemm<float>, kFloatGemm<Float16>, kFloatGemm<BFloat16>},
    .rows = kRowKernels,
    .attention = {kAttention<float>, kAttention<Float16>, kAttention<BFloat16>},
};
