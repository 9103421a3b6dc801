# Read by ctest before the tests, whose servers and clients meet on this machine: no proxy that the environment names is
# in between. gRPC and others would send 127.0.0.1 there too.
foreach(name no_proxy NO_PROXY no_grpc_proxy)
  set(ENV{${name}} "127.0.0.1,localhost,$ENV{${name}}")
endforeach()

# Programs that scripts/setup fetches for the tests.
set(ENV{PATH} "$ENV{PATH}:${CMAKE_CURRENT_LIST_DIR}/../.deps/tools")
