# Sourced by the scripts, after log.sh: two runs that do the same work in the tree do it one after the other.

# with_lock FILE COMMAND...: what COMMAND starts keeps the lock too, so that it is not given up under a build.
with_lock() {
  local file=$1; shift
  {
    flock --nonblock 9 || { say "waiting for another run, which has $file"; flock 9; }
    "$@"
  } 9>"$file"
}
