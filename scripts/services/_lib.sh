# shellcheck shell=bash
# _lib.sh - what the scripts beside it have in common: real servers for tests, on Debian (sourced, never run).
#
# Two folders, both safe to delete at any time (after `down`):
#   $SVC_CACHE  downloads and builds, kept between runs
#   $SVC_RUN    one folder per running service: pid, log, data. Wiped by `down`.
# Put SVC_RUN on tmpfs (e.g. SVC_RUN=/dev/shm/svc) to take the disk out of tests.
set -euo pipefail
SVC_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/.cache/services"
SVC_CACHE="${SVC_CACHE:-$SVC_ROOT/cache}"
SVC_RUN="${SVC_RUN:-$SVC_ROOT/run}"

say() { printf '[%s] %s\n' "${NAME:-svc}" "$*" >&2; }
die() { say "error: $*"; exit 1; }

# apt_ensure BINARY PACKAGE...: install PACKAGEs unless BINARY is there already.
# policy-rc.d keeps Debian from starting the packaged daemon on its default port.
apt_ensure() {
  local bin="$1"; shift
  [ -x "$bin" ] || command -v "$bin" >/dev/null 2>&1 && return 0
  say "installing $* with apt"
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e "$policy" ]; then printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; made=1; fi
  local apt="apt-get -qq -o DPkg::Lock::Timeout=300" rc=0
  { $apt update && DEBIAN_FRONTEND=noninteractive $apt install -y --no-install-recommends "$@"; } \
    >"$SVC_CACHE/apt.log" 2>&1 || rc=$?
  [ -z "$made" ] || rm -f "$policy"
  [ "$rc" = 0 ] || { tail -5 "$SVC_CACHE/apt.log" >&2; die "apt failed"; }
}

# The pid on file is trusted only while that process was started by us: the
# start time (field 22 of /proc/PID/stat) is kept beside it, so a recycled pid
# is never signalled. A zombie (dead, its parent slow to reap it) counts as down.
started_at() { sed 's/.*) //; /^[ZX]/d' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
is_up() {
  local f="$SVC_RUN/$NAME/pid" pid at
  [ -s "$f" ] || return 1
  read -r pid at <"$f"
  [ -n "$at" ] && [ "$(started_at "$pid" || true)" = "$at" ]
}
pid_of() { cut -d' ' -f1 "$SVC_RUN/$NAME/pid"; }

# start CMD...: run detached (own session, so a Ctrl-C in the test runner does
# not reach it), log to $SVC_RUN/$NAME/log, remember pid + start time.
start() {
  mkdir -p "$SVC_RUN/$NAME"
  setsid "$@" >"$SVC_RUN/$NAME/log" 2>&1 </dev/null &
  local pid=$!
  echo "$pid $(started_at "$pid")" >"$SVC_RUN/$NAME/pid"
}

# wait_ready SECONDS CMD...: poll CMD every 50 ms; fail early if the server died.
wait_ready() {
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    is_up || { tail -20 "$SVC_RUN/$NAME/log" >&2; die "server exited while starting"; }
    [ "$SECONDS" -lt "$end" ] || { tail -20 "$SVC_RUN/$NAME/log" >&2; die "not ready in time"; }
    sleep 0.05
  done
}
port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
port_free() { ! port_open "$1" || die "port $1 is taken by something this script did not start"; }

# stop: SIGTERM, $STOP_GRACE seconds, then SIGKILL. The data stays.
# Scripts with nothing worth saving set STOP_SIGNAL=KILL: `down` is then instant.
stop() {
  is_up || return 0
  local pid; pid="$(pid_of)"
  kill "-${STOP_SIGNAL:-TERM}" "$pid" 2>/dev/null || true
  for _ in $(seq $((${STOP_GRACE:-10} * 20))); do is_up || return 0; sleep 0.05; done
  say "no exit on ${STOP_SIGNAL:-TERM}, killing $pid"
  kill -KILL "$pid" 2>/dev/null || true
  while is_up; do sleep 0.05; done
}

# main dispatch. Each script defines
#   up           prepare $DIR (first time only: test for it) and start the server
#   status_line  print NAME=value lines a test runner can `eval`
#   after_down   optional
# crash   SIGKILL, data kept: what a power cut of the process looks like
# restart crash + start on the same data and port: for recovery tests
run_main() {
  mkdir -p "$SVC_CACHE" "$SVC_RUN"
  DIR="$SVC_RUN/$NAME"
  exec 9>"$SVC_RUN/$NAME.lock"; flock 9            # two callers at once: one starts, one waits
  case "${1:-}" in
    up) if is_up; then say "already up, pid $(pid_of)"
        else [ -n "${KEEP:-}" ] || rm -rf "${DIR:?}"; mkdir -p "$DIR"; up 9>&-; fi
        status_line ;;
    crash) STOP_SIGNAL=KILL stop; rm -f "$DIR/pid" ;;
    restart) STOP_SIGNAL=KILL stop; rm -f "$DIR/pid"; mkdir -p "$DIR"; up 9>&-; status_line ;;
    down) stop; rm -rf "${DIR:?}"; if declare -F after_down >/dev/null; then after_down; fi ;;
    status) if is_up; then status_line; else echo down; return 3; fi ;;
    *) echo "usage: $0 up|down|status|crash|restart" >&2; return 2 ;;
  esac
}
