#!/usr/bin/env bash
# Installs what the tests need beside Rust, as far as it is missing: Debian packages, the clients
# that the server is tested with, and what builds the page. Needs root or sudo only if a Debian package is missing.

set -euo pipefail
cd "$(dirname "$0")/../.."

fail() {
    echo "deps: $*" >&2
    exit 1
}

# Debian packages that are missing, judged by what they are for and not by their names: on other
# systems the same programs come from elsewhere.
missing_packages() {
    PATH=$PATH:/usr/sbin:/sbin
    command -v cc >/dev/null || echo build-essential
    tests/support/postgres.sh --programs >/dev/null 2>&1 || echo postgresql
    # They install the Node.js that the tests run on.
    command -v npm >/dev/null || echo nodejs npm
    python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3 python3-venv
    # Archives are downloaded and read by programs of others.
    command -v curl >/dev/null || echo curl
    command -v unzip >/dev/null || echo unzip
    command -v 7zz >/dev/null || command -v 7z >/dev/null || echo 7zip
    # For the tests in a real browser.
    [[ -x ${CHROMIUM:-/usr/bin/chromium} ]] || echo chromium
    # For the test that cuts the power of a file system.
    command -v mount >/dev/null || echo mount
    command -v mkfs.ext4 >/dev/null || echo e2fsprogs
    command -v mkfs.xfs >/dev/null || echo xfsprogs
    command -v setpriv >/dev/null || echo util-linux
}

install_packages() {
    local packages=() as_root=()
    read -r -d '' -a packages < <(missing_packages) || true
    [[ ${#packages[@]} -gt 0 ]] || return 0
    command -v apt-get >/dev/null ||
        fail "install what Debian calls: ${packages[*]}"
    if [[ $(id -u) != 0 ]]; then
        command -v sudo >/dev/null ||
            fail "run as root or install sudo; missing packages: ${packages[*]}"
        as_root=(sudo)
    fi
    echo "deps: installing ${packages[*]}"
    "${as_root[@]}" apt-get update --quiet=2
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --quiet=2 --no-install-recommends "${packages[@]}"
}

# Runs a command unless it has been run for this version of a file before.
once_for() {
    local file=$1 stamp=$2
    shift 2
    cmp --silent "$file" "$stamp" && return
    [[ -f $file ]] || fail "$file is missing from the tree"
    echo "deps: installing $file"
    "$@" || fail "could not install $file: '$*' failed"
    cp "$file" "$stamp"
}

npm_packages() {
    (
        cd tests/clients
        npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
        # An npm of Debian 12 makes this link for none of two packages that have the name.
        cd node_modules/.bin
        ln -sfn ../node-linux-*/bin/node node
    )
}

# What builds and checks the page. It runs on the Node.js of the test clients, and an npm that runs on
# an older one leaves parts of it out without a word.
page_packages() {
    PATH=$PWD/tests/clients/node_modules/.bin:$PATH \
        npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
}

python_packages() {
    python3 -m venv --clear tests/clients/.venv &&
        tests/clients/.venv/bin/python -m pip install --quiet --requirement tests/clients/requirements.txt
}

# The worker is installed in place, so that its tests and commands are those of the tree.
worker_packages() {
    python3 -m venv --clear workers/python/.venv &&
        workers/python/.venv/bin/python -m pip install --quiet --requirement workers/python/requirements.txt &&
        workers/python/.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable workers/python
}

install_packages
once_for tests/clients/package-lock.json tests/clients/node_modules/.installed npm_packages
once_for package-lock.json node_modules/.installed page_packages
once_for tests/clients/requirements.txt tests/clients/.venv/.installed python_packages
once_for workers/python/requirements.txt workers/python/.venv/.installed worker_packages
