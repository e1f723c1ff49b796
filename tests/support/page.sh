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

# The Node.js that `make deps` installs comes before the one that npm itself may have come with: what
# builds the page needs a newer one than Debian has, and other bytes could come out of another one.
node=$PWD/tests/clients/node_modules/.bin
[[ -x $node/node && -d node_modules ]] || fail 'run make deps'
PATH=$node:$PATH

# The page is built with what is built of the client, not with its source. What an earlier source has
# left behind would be found by neither.
build_client() {
    rm -rf clients/js/dist
    npm run --silent build --workspace clients/js
}

build() {
    build_client
    npm run --silent build --workspace web
}

check() {
    local built
    build_client
    npm run --silent check
    built=$(mktemp -d --suffix=.tidegate-page)
    # shellcheck disable=SC2064  # It is a local variable.
    trap "rm -rf '$built'" EXIT
    npm run --silent build --workspace web -- --outDir "$built" --emptyOutDir --logLevel warn
    diff --recursive --brief "$built" web/dist ||
        fail 'web/dist is not what its source makes: run make web, and commit what that changes'
}

case ${1-} in
build | check) "$1" ;;
*) fail 'usage: page.sh build|check' ;;
esac
