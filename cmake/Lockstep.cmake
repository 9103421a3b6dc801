# A folder is a library is a target.
#
#   lockstep_library(NAME SRCS a.cc b.cc DEPS x y)      a static library; DEPS are public
#   lockstep_binary(NAME OUTPUT lockstep-server SRCS main.cc DEPS x)
#   lockstep_test(NAME SRCS a_test.cc DEPS x [TIMEOUT s] [LABELS l])   a GoogleTest binary, its tests known to ctest by name

function(lockstep_library name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  if(ARG_SRCS)
    add_library(${name} STATIC ${ARG_SRCS})
    target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
    target_link_libraries(${name} PUBLIC ${ARG_DEPS})
  else()
    add_library(${name} INTERFACE)
    target_include_directories(${name} INTERFACE ${CMAKE_SOURCE_DIR})
    target_link_libraries(${name} INTERFACE ${ARG_DEPS})
  endif()
endfunction()

function(lockstep_binary name)
  cmake_parse_arguments(ARG "" "OUTPUT" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  set_target_properties(${name} PROPERTIES OUTPUT_NAME ${ARG_OUTPUT})
endfunction()

# What a sanitizer is told, also in the servers and workers that a test starts; its word anywhere in a test's output fails
# the test, because a process that a test kills has no exit status of its own. The longest history: a race that a
# suppression names is only found to be that one while the older access's stack can be restored.
set(LOCKSTEP_TEST_PROPERTIES "")
if(LOCKSTEP_SANITIZER)
  set(LOCKSTEP_TEST_ENVIRONMENT
    "TSAN_OPTIONS=suppressions=\"${CMAKE_SOURCE_DIR}/tests/sanitizers/thread.supp\" ignore_noninstrumented_modules=1 second_deadlock_stack=1 history_size=7")
  set(LOCKSTEP_TEST_PROPERTIES ENVIRONMENT "${LOCKSTEP_TEST_ENVIRONMENT}" FAIL_REGULAR_EXPRESSION "Sanitizer: ")
endif()

function(lockstep_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SRCS;DEPS;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(LOCKSTEP_SANITIZER)
    math(EXPR ARG_TIMEOUT "${ARG_TIMEOUT} * 3")
  endif()
  add_executable(${name} ${ARG_SRCS})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE LOCKSTEP_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
    LOCKSTEP_BINARY_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  # LABELS last: an empty value would take the next property's name.
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT ${ARG_TIMEOUT} ${LOCKSTEP_TEST_PROPERTIES}
    LABELS "${ARG_LABELS}")
endfunction()
