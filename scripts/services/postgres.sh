#!/usr/bin/env bash
# postgres.sh up|down|status|crash|restart - a PostgreSQL server from Debian's packages, for tests.
#
#   PG_PORT   default 5440; user and database: postgres and test; trusts everybody, on loopback only
#
# It does not wait for the disk (fsync is off: only the machine itself must not fail), but what it has committed survives
# `crash`: synchronous_commit stays on.
source "$(dirname "$0")/_lib.sh"
PORT="${PG_PORT:-5440}"
NAME="postgres-$PORT"
OWNER="${PG_OWNER:-postgres}" # postgres refuses to run as root
newest() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1; }
umask 022
is_root() { [ "$(id -u)" = 0 ]; }
as_owner() { if is_root; then runuser -u "$OWNER" -- "$@"; else "$@"; fi; }
# A folder that only root may enter is of no use to another user: its data goes elsewhere, always to the same place.
reachable() { local dir="$SVC_ROOT"; while [ "$dir" != / ]; do dir="$(dirname "$dir")"
  [ "$(($(stat -c 0%a "$dir") & 1))" = 1 ] || return 1; done; }
if is_root && [ "${SVC_RUN#"$SVC_ROOT"}" != "$SVC_RUN" ] && ! (mkdir -p "$SVC_ROOT" && reachable); then
  SVC_RUN="/tmp/millrace-services-$(cksum <<<"$SVC_ROOT" | cut -d' ' -f1)"
fi
up() {
  local bin
  bin="$(newest)"
  if [ -z "$bin" ]; then
    is_root || die "there is no PostgreSQL here: install the package postgresql, or run this as root once"
    apt_ensure /usr/lib/postgresql/x postgresql
    bin="$(newest)"
    [ -n "$bin" ] || die "the package postgresql has brought no server"
  fi
  port_free "$PORT"
  if is_root; then
    chown "$OWNER" "$DIR"
    chmod 755 "$SVC_RUN" "$DIR"
  fi
  if [ ! -e "$DIR/data/PG_VERSION" ]; then
    (cd / && as_owner "$bin/initdb" -D "$DIR/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync) \
      >"$DIR/initdb.log" 2>&1 || { tail -5 "$DIR/initdb.log" >&2; die "initdb failed"; }
    cat >>"$DIR/data/postgresql.conf" <<C
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 100
fsync = off
full_page_writes = off
C
  fi
  rm -f "$DIR/data/postmaster.pid" # left by a crash
  cd /
  if is_root; then
    # setpriv, unlike runuser, execs: the pid on file is the postmaster's own
    start setpriv --reuid="$OWNER" --regid="$OWNER" --init-groups "$bin/postgres" -D "$DIR/data" -p "$PORT"
  else
    start "$bin/postgres" -D "$DIR/data" -p "$PORT"
  fi
  wait_ready 60 "$bin/pg_isready" -q -h 127.0.0.1 -p "$PORT" -U postgres
  "$bin/psql" -qtA -h 127.0.0.1 -p "$PORT" -U postgres -c "select 1 from pg_database where datname='test'" | grep -q 1 \
    || "$bin/psql" -q -h 127.0.0.1 -p "$PORT" -U postgres -c 'create database test'
}
status_line() { echo "PG_URL=postgres://postgres@127.0.0.1:$PORT/test"; }
STOP_SIGNAL=QUIT # at once, children too
run_main "$@"
