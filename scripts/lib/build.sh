# Sourced by the scripts, after log.sh and lock.sh: brings a preset's binaries up to date, quietly where nothing is to do.

# A log file gets a line now and then, a terminal ninja's own display.
show_every_25th_step() {
  awk -F'[][/]' '/^\[[0-9]+\// { if ($2 >= due) { print "    " $2 " of " $3; fflush(); due = $2 + 25 } }' >&2
}

configure_and_build() {  # PRESET [TARGET...]
  local preset=$1 log=build/$1/build.log; shift
  if [ ! -f "build/$preset/build.ninja" ]; then
    say "configuring the $preset build"
    cmake --preset "$preset" >"$log" 2>&1 || { tail -n 30 "$log" >&2; fail "cmake failed; the whole output is in $log"; }
  fi
  say "bringing the $preset build up to date (the first time takes several minutes)"
  if [ -t 2 ]; then
    ninja -C "build/$preset" "$@" >&2 || fail "the build failed"
  else
    ninja -C "build/$preset" "$@" 2>&1 | tee "$log" | show_every_25th_step ||
      { grep -A 15 -m 5 'FAILED:' "$log" >&2; fail "the build failed; the whole output is in $log"; }
  fi
}

# build PRESET [TARGET...]
build() {
  mkdir -p "build/$1"
  with_lock "build/$1/lock" configure_and_build "$@"
}
