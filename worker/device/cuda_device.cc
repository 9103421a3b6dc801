#include "worker/device/cuda_device.h"

#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <c10/core/DeviceGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <functional>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "worker/device/cuda_graph_recorder.h"

namespace lockstep::worker {
namespace {

// The oldest architecture in LOCKSTEP_CUDA_ARCHITECTURES: the matrix units that the attention
// kernels use.
constexpr int kMinMajor = 8;

std::string VersionText(int version) {
  return absl::StrCat(version / 1000, ".", version % 1000 / 10);
}

absl::Status CudaError(const std::string& what, cudaError_t error) {
  return absl::InternalError(absl::StrCat(what, ": ", cudaGetErrorString(error)));
}

absl::Status NoDriver() {
  return absl::FailedPreconditionError(
      "device is \"cuda\", and there is no NVIDIA driver here: install it (nvidia-smi shows it), "
      "start the container with GPUs (docker run --gpus all, or a limit of nvidia.com/gpu), or "
      "use --device cpu");
}

// What a GPU does when it reaches a mark.
struct Arrival {
  std::shared_ptr<StreamMark> mark;
  std::function<void()> on_reached;
};

void CUDART_CB Arrive(void* argument) {
  const std::unique_ptr<Arrival> arrival(static_cast<Arrival*>(argument));
  arrival->mark->SetReached();
  if (arrival->on_reached) arrival->on_reached();
}

// Why no GPU could be counted.
absl::Status ExplainNoGpu(cudaError_t error) {
  int driver = 0;
  int runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (driver == 0) return NoDriver();
  if (error == cudaErrorInsufficientDriver) {
    return absl::FailedPreconditionError(
        absl::StrCat("the NVIDIA driver supports CUDA up to ", VersionText(driver),
                     ", and this build needs ", VersionText(runtime), ": update the driver"));
  }
  if (error == cudaSuccess || error == cudaErrorNoDevice) {
    return absl::FailedPreconditionError(
        "device is \"cuda\", and the NVIDIA driver shows this process no GPU: see nvidia-smi and "
        "CUDA_VISIBLE_DEVICES");
  }
  return CudaError("the GPUs cannot be counted", error);
}

class CudaDevice : public ComputeDevice {
 public:
  CudaDevice(at::Device device, int num_ranks, std::string description)
      : device_(device),
        num_ranks_(num_ranks),
        description_(std::move(description)),
        stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index())),
        arrivals_(c10::cuda::getStreamFromPool(/*isHighPriority=*/true, device.index())) {}

  at::Device device() const override { return device_; }
  c10::Stream stream() const override { return stream_.unwrap(); }
  bool computes_beside_host() const override { return true; }
  int num_ranks() const override { return num_ranks_; }
  absl::StatusOr<std::shared_ptr<StreamMark>> Mark(std::function<void()> on_reached) override;
  absl::Status Check() override {
    const c10::DeviceGuard guard(device_);
    const cudaError_t error = cudaStreamQuery(stream_);
    const bool is_well = error == cudaSuccess || error == cudaErrorNotReady;
    return is_well ? absl::OkStatus() : CudaError(device_.str(), error);
  }
  absl::Status Synchronize() override {
    const c10::DeviceGuard guard(device_);
    const cudaError_t error = cudaDeviceSynchronize();
    return error == cudaSuccess ? absl::OkStatus() : CudaError(device_.str(), error);
  }
  absl::StatusOr<DeviceMemory> Memory() const override {
    const c10::DeviceGuard guard(device_);
    size_t free = 0;
    size_t total = 0;
    const cudaError_t error = cudaMemGetInfo(&free, &total);
    if (error != cudaSuccess) return CudaError(device_.str(), error);
    return DeviceMemory{.total_bytes = total, .free_bytes = free};
  }
  std::string Describe() const override { return description_; }
  at::Tensor AllocateHost(int64_t num_bytes) const override {
    return at::empty({num_bytes}, at::TensorOptions().dtype(at::kByte).pinned_memory(true));
  }
  void CopyColumns(const at::Tensor& from, int64_t num_columns, at::Tensor& to) const override;
  GraphRecorder* graph_recorder() override { return &recorder_; }
  absl::Status StartProfile() override;
  absl::Status StopProfile(const std::string& path) override;

 private:
  const at::Device device_;
  const int num_ranks_;
  const std::string description_;
  // Not the default stream, which cannot be recorded.
  const c10::cuda::CUDAStream stream_;
  // Where the host is told of marks: a stream waits while it calls the host.
  const c10::cuda::CUDAStream arrivals_;
  CudaGraphRecorder recorder_;
};

absl::StatusOr<std::shared_ptr<StreamMark>> CudaDevice::Mark(std::function<void()> on_reached) {
  const c10::DeviceGuard guard(device_);
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  cudaError_t error = cudaStreamIsCapturing(stream_, &capture);
  if (error == cudaSuccess && capture != cudaStreamCaptureStatusNone) {
    return absl::InternalError(
        absl::StrCat(device_.str(), ": waited for while its work is being recorded"));
  }
  auto arrival = std::make_unique<Arrival>();
  arrival->mark = std::make_shared<StreamMark>();
  arrival->on_reached = std::move(on_reached);
  std::shared_ptr<StreamMark> mark = arrival->mark;
  cudaEvent_t event = nullptr;
  if (error == cudaSuccess) error = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  if (error == cudaSuccess) error = cudaEventRecord(event, stream_);
  if (error == cudaSuccess) error = cudaStreamWaitEvent(arrivals_, event, 0);
  // Its memory is kept until the GPU has passed it.
  if (event != nullptr) cudaEventDestroy(event);
  if (error == cudaSuccess) error = cudaLaunchHostFunc(arrivals_, &Arrive, arrival.get());
  if (error != cudaSuccess) return CudaError(device_.str(), error);
  arrival.release();
  return mark;
}

void CudaDevice::CopyColumns(const at::Tensor& from, int64_t num_columns, at::Tensor& to) const {
  const c10::DeviceGuard guard(device_);
  const size_t element_size = from.element_size();
  const size_t pitch = static_cast<size_t>(from.size(1)) * element_size;
  const cudaError_t error =
      cudaMemcpy2DAsync(to.mutable_data_ptr(), pitch, from.const_data_ptr(), pitch,
                        static_cast<size_t>(num_columns) * element_size,
                        static_cast<size_t>(from.size(0)), cudaMemcpyHostToDevice, stream_);
  TORCH_CHECK(error == cudaSuccess, device_.str(), ": a copy of ", from.size(0), " rows of ",
              num_columns, ": ", cudaGetErrorString(error));
}

absl::Status CudaDevice::StartProfile() {
  namespace profiler = torch::autograd::profiler;
  const profiler::ProfilerConfig config(profiler::ProfilerState::KINETO);
  const std::set<profiler::ActivityType> activities = {profiler::ActivityType::CUDA};
  profiler::prepareProfiler(config, activities);
  profiler::enableProfiler(config, activities);
  return absl::OkStatus();
}

absl::Status CudaDevice::StopProfile(const std::string& path) {
  if (absl::Status status = Synchronize(); !status.ok()) return status;
  torch::autograd::profiler::disableProfiler()->save(path);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ComputeDevice>> OpenCudaDevice(LocalRank local_rank) {
  int num_gpus = 0;
  const cudaError_t counted = cudaGetDeviceCount(&num_gpus);
  if (counted != cudaSuccess || num_gpus == 0) return ExplainNoGpu(counted);
  const int index = GpuIndex(local_rank, num_gpus);
  cudaDeviceProp properties{};
  cudaError_t error = cudaGetDeviceProperties(&properties, index);
  if (error == cudaSuccess) error = cudaSetDevice(index);
  if (error != cudaSuccess) {
    return CudaError(absl::StrCat("GPU ", index, " cannot be used (see nvidia-smi)"), error);
  }
  if (properties.major < kMinMajor) {
    return absl::FailedPreconditionError(absl::StrCat(
        "GPU ", index, ", ", properties.name, ", has compute capability ", properties.major, ".",
        properties.minor, "; the kernels need ", kMinMajor, ".0 or newer"));
  }
  // Linear promises sums in float32; LibTorch lets cuBLAS add parts of a sum in 16 bits.
  at::globalContext().setAllowFP16ReductionCuBLAS(false);
  at::globalContext().setAllowBF16ReductionCuBLAS(false);
  // TORCH_ALLOW_TF32_CUBLAS_OVERRIDE would have it round float32 to 11 bits.
  at::globalContext().setAllowTF32CuBLAS(false);
  const at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
  const int num_ranks = NumRanksOnGpu(local_rank, num_gpus);
  std::string description =
      absl::StrFormat("%s %s, %.1f GiB", device.str(), properties.name,
                      static_cast<double>(properties.totalGlobalMem) / (1 << 30));
  if (num_ranks > 1) absl::StrAppend(&description, ", shared by ", num_ranks, " ranks");
  return std::make_unique<CudaDevice>(device, num_ranks, std::move(description));
}

}  // namespace lockstep::worker
