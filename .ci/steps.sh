# The steps of .ci/run: each is run, noted, and ended with the whole if that is told to end. For a bash with `set -euo pipefail`, a directory $scratch, and an array `failed`.

# The process group of the step at hand.
running=

# end STATUS: ends the step at hand, and then this shell. Whoever runs that may tell it alone, as a supervisor does, and not its process group, as a terminal does.
end() {
  trap '' INT TERM HUP
  if [ -n "$running" ]; then
    kill -TERM -- "-$running" 2>/dev/null || true
    while kill -0 -- "-$running" 2>/dev/null; do sleep 0.1; done
  fi
  exit "$1"
}
trap 'end 129' HUP
trap 'end 130' INT
trap 'end 143' TERM

# step NAME COMMAND...: runs a command, notes a failure and goes on, so that one run shows everything.
# What a failed one printed last is printed again at the end, where it is found without a search.
step() {
  local name=$1 began=$SECONDS status=0
  shift
  printf '\n=== %s: %s\n' "$name" "$*"
  # In a process group of its own, and waited for: a shell that has something in the foreground hears no signal until that has ended.
  set -m
  (
    set +em
    # What it says as it ends is seen, too.
    "$@" 2>&1 | (
      trap '' INT TERM HUP
      exec tee "$scratch/log"
    )
  ) </dev/null &
  running=$!
  set +m
  wait "$running" || status=$?
  running=
  if [ "$status" -eq 0 ]; then
    printf '=== %s: passed in %d s\n' "$name" $((SECONDS - began))
  else
    printf '=== %s: FAILED with status %d after %d s\n' "$name" "$status" $((SECONDS - began))
    failed+=("$name")
    { printf '\nFAILED: %s, with status %d after %d s; its last lines:\n' "$name" "$status" $((SECONDS - began)); tail -n 12 "$scratch/log"; } >>"$scratch/failures"
  fi
}

# limited MINUTES COMMAND...: ends a command that takes longer, having shown what its processes wait for. timeout(1) puts the command in a process group of its own: what the step
# is told is passed on.
limited() {
  local minutes=$1 watchdog command status=0
  shift
  # It waits in the shell itself: a process of its own would outlive it.
  (
    read -rt $((minutes * 60 - 30)) <> <(:) ||
      ps --ppid 2 -p 2 --deselect -o pid,ppid,stat,etime,wchan:24,args --sort=start_time | cut -c1-160 | tail -n 25
  ) &
  watchdog=$!
  timeout --kill-after=1m "${minutes}m" "$@" &
  command=$!
  trap 'kill "$command" "$watchdog" 2>/dev/null; wait "$command"; exit 130' INT TERM HUP
  wait "$command" || status=$?
  trap - INT TERM HUP
  kill "$watchdog" 2>/dev/null || true
  return "$status"
}
