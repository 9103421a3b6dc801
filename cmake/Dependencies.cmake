# The dependency table: every library that Lockstep links, by the target name that the folders use.
#
#   gRPC, Protobuf, Abseil, prometheus-cpp, GoogleTest, nlohmann-json, CLI11, spdlog   Debian packages
#   lockstep::libtorch                                                                 .deps/libtorch (scripts/setup), or
#                                                                                      .deps/cuda, or Python's torch
#   lockstep::nccl                                                                     .deps/cuda (scripts/setup --cuda)
#   lockstep::google_rpc (proto/)                                                      .deps/protos (scripts/setup)

find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(GTest REQUIRED)
include(GoogleTest)

# Looks for LibTorch where LOCKSTEP_LIBTORCH_DIR does not say, and sets it in the caller. A Python package is not imported.
function(lockstep_find_libtorch)
  set(library libtorch_cpu.so)
  set(unpacked ${LOCKSTEP_DEPS_DIR}/libtorch)
  set(setup scripts/setup)
  if(LOCKSTEP_WITH_CUDA)
    set(library libtorch_cuda.so)
    set(unpacked ${LOCKSTEP_DEPS_DIR}/cuda/torch)
    set(setup "scripts/setup --cuda")
  endif()
  set(directory ${LOCKSTEP_LIBTORCH_DIR})
  if(NOT directory AND EXISTS ${unpacked}/lib/${library})
    set(directory ${unpacked})
  endif()
  if(NOT directory AND NOT LOCKSTEP_SANITIZER)
    find_package(Python3 QUIET COMPONENTS Interpreter)
    execute_process(
      COMMAND ${Python3_EXECUTABLE} -c
        "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '', end='')"
      OUTPUT_VARIABLE directory ERROR_QUIET)
  endif()
  if(NOT LOCKSTEP_SANITIZER AND NOT EXISTS "${directory}/lib/${library}")
    message(FATAL_ERROR "no ${library} in '${directory}': run ${setup}, or set LOCKSTEP_LIBTORCH_DIR")
  endif()
  message(STATUS "LibTorch: ${directory}")
  set(LOCKSTEP_LIBTORCH_DIR ${directory} PARENT_SCOPE)
endfunction()

if(LOCKSTEP_WITH_GRPC)
  find_package(Protobuf REQUIRED)
  find_package(CLI11 REQUIRED)
  find_package(spdlog REQUIRED)
  find_package(prometheus-cpp REQUIRED)
  find_package(PkgConfig REQUIRED)
  pkg_check_modules(GRPCPP REQUIRED IMPORTED_TARGET grpc++)
  find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)
  find_library(GRPCPP_REFLECTION grpc++_reflection REQUIRED)
endif()

set(LOCKSTEP_DEPS_DIR ${CMAKE_SOURCE_DIR}/.deps CACHE PATH "Where scripts/setup unpacked what is not a Debian package")

# LibTorch from the PyPI wheel. Its own CMake package demands a CUDA toolkit, so the targets are declared here. The
# headers come last on the include path (-idirafter), because they carry an old copy of protobuf's.
set(LOCKSTEP_LIBTORCH_DIR "" CACHE PATH
  "LibTorch: include/ and lib/; empty: from scripts/setup, else that of python3's torch package")
lockstep_find_libtorch()
add_library(lockstep_libtorch INTERFACE)
add_library(lockstep::libtorch ALIAS lockstep_libtorch)
if(LOCKSTEP_LIBTORCH_DIR)
  file(REAL_PATH ${LOCKSTEP_LIBTORCH_DIR}/include libtorch_include)
endif()
target_compile_options(lockstep_libtorch INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter \"${libtorch_include}\">"
  "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-isystem \"${libtorch_include}\">")
target_link_libraries(lockstep_libtorch INTERFACE
  ${LOCKSTEP_LIBTORCH_DIR}/lib/libtorch_cpu.so ${LOCKSTEP_LIBTORCH_DIR}/lib/libc10.so)
target_link_options(lockstep_libtorch INTERFACE
  "-Wl,--allow-shlib-undefined" "-Wl,-rpath,${LOCKSTEP_LIBTORCH_DIR}/lib" "-Wl,-rpath-link,${LOCKSTEP_LIBTORCH_DIR}/lib")
if(LOCKSTEP_WITH_CUDA)
  include(cmake/Cuda.cmake)
endif()
