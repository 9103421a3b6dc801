# Compiler, linker and warning settings that hold for every target.

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

find_program(MOLD_PROGRAM mold)
if(MOLD_PROGRAM)
  add_link_options(-fuse-ld=mold)
endif()

set(host_options -Wall -Wextra -Wno-unused-parameter -fno-omit-frame-pointer -fdiagnostics-color=auto)
add_compile_options("$<$<COMPILE_LANGUAGE:C,CXX>:${host_options}>")
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  add_compile_options(-Wthread-safety -Werror=thread-safety)
endif()

if(LOCKSTEP_SANITIZER)
  add_compile_options(-fsanitize=${LOCKSTEP_SANITIZER} -O1)
  add_link_options(-fsanitize=${LOCKSTEP_SANITIZER})
  if(LOCKSTEP_SANITIZER STREQUAL thread)
    # Protobuf and Abseil lay out classes by this macro, and Debian's are not instrumented. The standard library still
    # hears of ThreadSanitizer: it leaves out a shared_ptr shortcut that would look like a race.
    add_compile_options(-U__SANITIZE_THREAD__ -D_GLIBCXX_TSAN=1)
    # Without debug information a report's frames are functions as they were compiled: what gRPC's headers inline into
    # theirs then counts as gRPC's, which tests/sanitizers/thread.supp can name.
    add_compile_options(-g0)
  else()
    add_compile_options(-g1)
  endif()
endif()
