# Sourced by the scripts, after log.sh: two runs that do the same work in the tree do it one after the other.

# with_lock DIRECTORY COMMAND...: a directory can be locked by whoever may read it. What COMMAND starts does not hold the lock:
# a compiler cache's server, say, would keep it. Where the file system has no locks, nobody waits.
with_lock() {
  local directory=$1 status=0; shift
  {
    flock --nonblock --conflict-exit-code 75 9 2>/dev/null || status=$?
    if [ "$status" -eq 75 ]; then
      say "waiting for another run, which has $directory"
      flock 9
    fi
    "$@" 9<&-
  } 9<"$directory"
}
