# The CUDA toolkit of a build with LOCKSTEP_WITH_CUDA: that of scripts/setup --cuda, or an installed one. Neither a GPU nor a
# driver is needed to build.

set(LOCKSTEP_CUDA_DIR "" CACHE PATH "CUDA toolkit 12.8 or newer; empty: .deps/cuda, else /usr/local/cuda, else nvcc's on PATH")
set(LOCKSTEP_CUDA_ARCHITECTURES "80;90a-real;100-real" CACHE STRING
  "GPUs to compile for: A100 (and, through its PTX, every later one), H100 and H200, B200")

set(cuda_dir ${LOCKSTEP_CUDA_DIR})
if(NOT cuda_dir)
  foreach(candidate ${LOCKSTEP_DEPS_DIR}/cuda/nvidia/cu13 /usr/local/cuda)
    if(NOT cuda_dir AND EXISTS ${candidate}/bin/nvcc)
      set(cuda_dir ${candidate})
    endif()
  endforeach()
endif()
find_program(LOCKSTEP_NVCC nvcc HINTS ${cuda_dir}/bin)
if(NOT LOCKSTEP_NVCC)
  message(FATAL_ERROR "no CUDA compiler: run scripts/setup --cuda, or set LOCKSTEP_CUDA_DIR to an installed toolkit")
endif()
cmake_path(GET LOCKSTEP_NVCC PARENT_PATH LOCKSTEP_NVCC_DIR)
if(NOT CMAKE_CUDA_COMPILER)
  set(CMAKE_CUDA_COMPILER ${LOCKSTEP_NVCC})
endif()
set(CMAKE_CUDA_ARCHITECTURES ${LOCKSTEP_CUDA_ARCHITECTURES})
# LibTorch loads libcudart.so: one run time, not two.
set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
enable_language(CUDA)
# CMake 3.25 takes the newest compiler for one that knows no C++20.
set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
string(APPEND CMAKE_CUDA_FLAGS " --expt-relaxed-constexpr")

# NCCL comes as a wheel beside LibTorch's, or with the system.
find_path(LOCKSTEP_NCCL_INCLUDE nccl.h HINTS ${LOCKSTEP_LIBTORCH_DIR}/../nvidia/nccl/include REQUIRED)
find_library(LOCKSTEP_NCCL_LIBRARY NAMES nccl libnccl.so.2 HINTS ${LOCKSTEP_LIBTORCH_DIR}/../nvidia/nccl/lib REQUIRED)
add_library(lockstep_nccl INTERFACE)
add_library(lockstep::nccl ALIAS lockstep_nccl)
target_include_directories(lockstep_nccl SYSTEM INTERFACE ${LOCKSTEP_NCCL_INCLUDE})
cmake_path(GET LOCKSTEP_NCCL_LIBRARY PARENT_PATH nccl_dir)
target_link_libraries(lockstep_nccl INTERFACE ${LOCKSTEP_NCCL_LIBRARY})
target_link_options(lockstep_nccl INTERFACE "-Wl,-rpath,${nccl_dir}")

# For the files that call CUDA; all others compile as in a build without it, and find its libraries when they are linked.
add_library(lockstep_cuda INTERFACE)
add_library(lockstep::cuda ALIAS lockstep_cuda)
target_include_directories(lockstep_cuda SYSTEM INTERFACE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
find_library(LOCKSTEP_CUDART cudart HINTS ${LOCKSTEP_NVCC_DIR}/../lib64 ${LOCKSTEP_NVCC_DIR}/../lib REQUIRED)
cmake_path(GET LOCKSTEP_CUDART PARENT_PATH cudart_dir)
target_link_libraries(lockstep_cuda INTERFACE lockstep::libtorch ${LOCKSTEP_CUDART})
target_link_options(lockstep_libtorch INTERFACE "-Wl,-rpath,${cudart_dir}" "-Wl,-rpath-link,${cudart_dir}")
# libtorch_cuda.so registers what LibTorch does on GPUs: it has to be loaded where no symbol of it is used, too.
target_link_libraries(lockstep_libtorch INTERFACE
  "-Wl,--push-state,--no-as-needed,\"${LOCKSTEP_LIBTORCH_DIR}/lib/libtorch_cuda.so\",--pop-state"
  ${LOCKSTEP_LIBTORCH_DIR}/lib/libc10_cuda.so)
