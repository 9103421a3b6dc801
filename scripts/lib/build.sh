# Sourced by the scripts, after log.sh and lock.sh: brings a preset's binaries up to date, quietly where nothing is to do.

# A log file gets a line now and then, a terminal ninja's own display.
show_every_25th_step() {
  awk -F'[][/]' '/^\[[0-9]+\// { if ($2 >= due) { print "    " $2 " of " $3; fflush(); due = $2 + 25 } }' >&2
}

# configure PRESET: once, and again where the presets have changed, or the tree was copied or moved: what is in the folder
# then builds the tree that it was made in.
configure() {
  local directory=build/$1 log=build/$1/build.log home='' fresh=()
  [ ! -f "$directory/CMakeCache.txt" ] || home=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$directory/CMakeCache.txt")
  if [ -n "$home" ] && ! [ "$home" -ef . ]; then
    fresh=(--fresh)
  elif [ -f "$directory/build.ninja" ] && ! [ CMakePresets.json -nt "$directory/build.ninja" ]; then
    return 0
  fi
  say "configuring the $1 build"
  # One that fails is tried again: nothing is built by what was there before.
  rm -f "$directory/build.ninja"
  cmake --preset "$1" "${fresh[@]}" >"$log" 2>&1 || { tail -n 30 "$log" >&2; fail "cmake failed; the whole output is in $log"; }
}

configure_and_build() {  # PRESET [TARGET...]
  local preset=$1 log=build/$1/build.log; shift
  configure "$preset"
  say "bringing the $preset build up to date (the first time takes several minutes)"
  if [ -t 2 ]; then
    ninja -C "build/$preset" "$@" >&2 || fail "the build failed"
  else
    ninja -C "build/$preset" "$@" 2>&1 | tee "$log" | show_every_25th_step ||
      { grep -A 15 -m 5 'FAILED:' "$log" >&2 || tail -n 20 "$log" >&2; fail "the build failed; the whole output is in $log"; }
  fi
}

# build PRESET [TARGET...]
build() {
  mkdir -p "build/$1"
  with_lock "build/$1" configure_and_build "$@"
}
