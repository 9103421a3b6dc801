# The dependency table: every library that Lockstep links, by the target name that the folders use.
#
#   gRPC, Protobuf, Abseil, prometheus-cpp, GoogleTest, nlohmann-json, CLI11, spdlog   Debian packages
#   lockstep::libtorch                                                                 .deps/libtorch (scripts/setup)
#   lockstep::google_rpc (proto/)                                                      .deps/protos (scripts/setup)

find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(GTest REQUIRED)
include(GoogleTest)

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
set(LOCKSTEP_LIBTORCH_DIR ${LOCKSTEP_DEPS_DIR}/libtorch CACHE PATH "LibTorch: include/ and lib/")
if(NOT LOCKSTEP_SANITIZER AND NOT EXISTS ${LOCKSTEP_LIBTORCH_DIR}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "LibTorch is not in ${LOCKSTEP_LIBTORCH_DIR}: run scripts/setup first")
endif()
add_library(lockstep_libtorch INTERFACE)
add_library(lockstep::libtorch ALIAS lockstep_libtorch)
target_compile_options(lockstep_libtorch INTERFACE "SHELL:-idirafter ${LOCKSTEP_LIBTORCH_DIR}/include")
target_link_libraries(lockstep_libtorch INTERFACE
  ${LOCKSTEP_LIBTORCH_DIR}/lib/libtorch_cpu.so ${LOCKSTEP_LIBTORCH_DIR}/lib/libc10.so)
target_link_options(lockstep_libtorch INTERFACE
  "-Wl,--allow-shlib-undefined" "-Wl,-rpath,${LOCKSTEP_LIBTORCH_DIR}/lib" "-Wl,-rpath-link,${LOCKSTEP_LIBTORCH_DIR}/lib")
