#!/usr/bin/env bash
# Runs a command beside a PostgreSQL server of its own.
#
#   postgres.sh COMMAND [ARGUMENT...]   runs it with TIDEGATE_TEST_POSTGRES set to the server's URL
#   postgres.sh                         prints the URL and serves until interrupted
#   postgres.sh --programs              prints where the server's programs are, or fails
#
# The server listens on a socket in a new temporary directory and nowhere else, as a user without
# privileges if this is run by root. It syncs like a real one. Server and directory are gone when
# the command has ended, however it has. If TIDEGATE_TEST_POSTGRES is set already, the command uses
# that server and none is started.

set -euo pipefail

fail() {
    echo "postgres.sh: $*" >&2
    exit 1
}

# Debian keeps the server's programs away from PATH, in a folder for each version.
programs() {
    local folder
    if folder=$(command -v initdb); then
        dirname "$folder"
        return
    fi
    for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort --version-sort --reverse); do
        if [[ -x $folder/initdb && -x $folder/postgres ]]; then
            echo "$folder"
            return
        fi
    done
    fail "found no PostgreSQL server: run \`make deps\`, or name a server in TIDEGATE_TEST_POSTGRES"
}

# PostgreSQL refuses to run as root.
server_user() {
    if [[ $(id -u) != 0 ]]; then
        id -un
    elif id postgres >/dev/null 2>&1; then
        echo postgres
    else
        echo nobody
    fi
}

# Replaces this shell by a server program. The kernel interrupts it should its parent be killed.
run_program() {
    local as=()
    if [[ $(id -u) == 0 ]]; then
        as=("--reuid=$user" "--regid=$(id -g "$user")" --clear-groups)
    fi
    cd "$directory"
    exec setpriv "${as[@]}" --pdeathsig=INT -- "$@"
}

start() {
    bin=$(programs)
    user=$(server_user)
    directory=$(mktemp --directory "${TMPDIR:-/tmp}/tidegate-postgres-XXXXXX")
    trap stop EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    chown "$user" "$directory"

    (run_program "$bin/initdb" --pgdata="$directory/data" --username=postgres --auth=trust \
        --encoding=UTF8 --no-locale --no-sync) >"$directory/log" 2>&1 || fail_with_log "initdb failed"
    (run_program "$bin/postgres" -D "$directory/data" -k "$directory" -c listen_addresses= \
        -c max_connections=200) >"$directory/log" 2>&1 &
    server=$!
    local tries=600
    until grep --quiet ready "$directory/data/postmaster.pid" 2>/dev/null; do
        kill -0 "$server" 2>/dev/null || fail_with_log "the server ended"
        ((tries -= 1)) || fail_with_log "the server is not ready after a minute"
        sleep 0.1
    done
    export TIDEGATE_TEST_POSTGRES="postgres://postgres@localhost/postgres?host=$directory"
}

fail_with_log() {
    sed 's/^/  /' "$directory/log" >&2
    fail "$1; its log stands above"
}

# Ends the server by its pid: first with open connections closed, then at once.
stop() {
    local status=$?
    trap - EXIT
    trap '' INT TERM HUP
    if [[ -n ${server:-} ]]; then
        kill -INT "$server" 2>/dev/null || true
        for ((tries = 100; tries > 0; tries--)); do
            kill -0 "$server" 2>/dev/null || break
            sleep 0.1
        done
        kill -QUIT "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$directory"
    exit "$status"
}

if [[ ${1:-} == --programs ]]; then
    programs
    exit
fi
if [[ -n ${TIDEGATE_TEST_POSTGRES:-} && $# -gt 0 ]]; then
    exec "$@"
fi
start
if [[ $# -gt 0 ]]; then
    "$@"
else
    echo "$TIDEGATE_TEST_POSTGRES"
    wait "$server"
fi
