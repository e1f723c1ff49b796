#!/usr/bin/env bash
# Builds the page for browsers, or checks it.
#
#   page.sh build    builds the client in TypeScript and, from that and its own source, web/dist
#   page.sh check    holds both against their linter and types, and web/dist against its source
#
# What is built stays out of the tree while it is checked: web/dist is not touched by that.

set -euo pipefail
cd "$(dirname "$0")/../.."

fail() {
    echo "page.sh: $*" >&2
    exit 1
}

# The Node.js that `make deps` installs comes before the one that npm has come with: what builds the
# page needs a newer one than Debian has, and other bytes could come out of another one.
node=$PWD/tests/clients/node_modules/.bin
[[ -x $node/node && -f node_modules/.installed ]] || fail 'run make deps'
PATH=$node:$PATH

# npm with the name of a workspace would be shorter, but that of Debian 12 ends well whatever happens.
run_in() {
    local folder=$1 script=$2
    shift 2
    npm --prefix "$folder" --silent run "$script" -- "$@" || fail "$script failed in $folder"
}

# The page is built with what is built of the client, not with its source. What an earlier source has
# left behind must not be found.
build_client() {
    rm -rf clients/js/dist
    run_in clients/js build
}

build() {
    build_client
    run_in web build
}

check() {
    local built
    build_client
    run_in . check
    built=$(mktemp -d --suffix=.tidegate-page)
    # shellcheck disable=SC2064  # It is a local variable.
    trap "rm -rf '$built'" EXIT
    run_in web build --outDir "$built" --emptyOutDir --logLevel warn
    diff --recursive --brief "$built" web/dist ||
        fail 'web/dist is not what its source makes: run make web, and commit what that changes'
}

case ${1-} in
build | check) "$1" ;;
*) fail 'usage: page.sh build|check' ;;
esac
