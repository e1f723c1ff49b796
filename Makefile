# `make` alone lists what there is. Every part of `make test` can be run alone.

CARGO ?= cargo
NIGHTLY ?= $(CARGO) +nightly
# Seconds for each fuzz target in `make fuzz-smoke`, and for one target in `make fuzz`.
FUZZ_SECONDS ?= 5
TARGET ?= upload_ops
# Where `make install` puts things.
PREFIX ?= /usr/local
DESTDIR ?=
# Arguments for `make serve` and `make bench`.
ARGS ?=

WITH_POSTGRES := tests/support/postgres.sh

.DEFAULT_GOAL := help
# The parts share one build directory and two cores: they are fastest one after the other.
.NOTPARALLEL:
.PHONY: help serve build install web pictures test deps fmt lint js tidy doc purity deny unit it clients workers fuzz-smoke fuzz bench

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-12s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: ## build and serve on 127.0.0.1:7070 (ARGS="--listen ...")
	$(CARGO) run --release --locked -- serve $(ARGS)

build: ## build the program, optimised
	$(CARGO) build --release --locked

# As the user who may write there, after `make build` as oneself: it builds nothing.
install: ## put the program, its manual pages and completions under PREFIX (/usr/local)
	install -D -m 755 target/release/tidegate $(DESTDIR)$(PREFIX)/bin/tidegate
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	target/release/tidegate man $(DESTDIR)$(PREFIX)/share/man/man1
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	target/release/tidegate completions bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/tidegate
	target/release/tidegate completions zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_tidegate
	target/release/tidegate completions fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/tidegate.fish

# What it makes is committed, so that nothing but this and `make js` needs Node.js.
web: ## build the page for browsers anew, into web/dist (after `make deps`)
	@tests/support/page.sh build

test: deps fmt lint js tidy doc purity deny unit it workers fuzz-smoke ## the whole check
	@echo 'all checks passed'

deps: ## install what the tests need beside Rust, as far as it is missing
	@tests/support/deps.sh

fmt: ## the formatting of the code
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check

lint: ## clippy, with warnings as errors
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy --manifest-path fuzz/Cargo.toml --all-targets --locked -- -D warnings

js: ## Biome and types of the TypeScript, and that web/dist is built from it (after `make deps`)
	@tests/support/page.sh check

pictures: build ## take the pictures of the README anew (after `make deps`)
	tests/clients/node_modules/.bin/node tests/clients/page/screenshots.mjs \
		target/release/tidegate workers/python/.venv/bin/python docs/images

tidy: ## the house rules
	$(CARGO) test --locked --test tidy

# The readers are those who change the code, so public pages may link to private ones.
doc: ## the documentation builds without warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' $(CARGO) doc --workspace --no-deps --document-private-items --locked

# A denied crate in the tree is found by its name; a crate that can do without an operating system
# builds for wasm32.
IMPURE := async-std|fastrand|futures-.*|getrandom|hyper|hyper-.*|libc|mio|rand|rand_.*|rustix|socket2|sqlx|sqlx-.*|tokio|tokio-.*|tracing|uuid
purity: ## the protocol crate has no runtime, I/O, clock or randomness
	@set -e; \
	tree=$$($(CARGO) tree --package tidegate-protocol --edges normal --prefix none --locked); \
	echo "$$tree" | grep -q '^tidegate-protocol v'; \
	if echo "$$tree" | grep -E '^($(IMPURE)) v'; then \
		echo 'purity: the protocol crate must not depend on these' >&2; exit 1; \
	fi; \
	echo "purity: $$(echo "$$tree" | wc -l) crates, all pure"
	@if [ -d "$$(rustc --print target-libdir --target wasm32-unknown-unknown)" ]; then \
		set -x; $(CARGO) build --package tidegate-protocol --target wasm32-unknown-unknown --locked; \
	else \
		echo 'purity: NOT built for wasm32-unknown-unknown, which is not installed'; \
	fi

# tests/tidy reads deny.toml itself, so that nothing depends on cargo-deny. Where it is installed it
# is asked, too. Advisories need a database from the network and are left to `cargo deny check`.
deny: ## versions, licences and sources of dependencies
	$(CARGO) test --locked --test tidy dependencies
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		set -x; $(CARGO) deny --locked --offline check bans licenses sources; \
	else \
		echo 'deny: cargo-deny is not installed: floors, licences and sources were checked by tidy'; \
	fi

unit: ## the tests beside the code, with both databases, and the examples in the documentation
	$(WITH_POSTGRES) $(CARGO) test --workspace --lib --bins --locked
	$(CARGO) test --workspace --doc --locked

it: ## the tests of the running program, stock clients among them (after `make deps`)
	$(WITH_POSTGRES) $(CARGO) test --locked --test it

clients: ## of those, tus-js-client, tuspy and schemathesis alone (after `make deps`)
	$(CARGO) test --locked --test it clients::

workers: ## the worker in Python, alone (after `make deps`)
	cd workers/python && .venv/bin/ruff format --check && .venv/bin/ruff check && .venv/bin/mypy && \
		.venv/bin/python -m pytest --quiet

fuzz-smoke: ## every fuzz target for some seconds, on the stable toolchain (FUZZ_SECONDS=5)
	$(CARGO) run --manifest-path fuzz/Cargo.toml --locked --bin smoke -- $(FUZZ_SECONDS)

fuzz: ## one target with libFuzzer, on nightly with cargo-fuzz (TARGET=field FUZZ_SECONDS=3600)
	$(NIGHTLY) fuzz run --features libfuzzer $(TARGET) -- -max_total_time=$(FUZZ_SECONDS)

bench: build ## a running server against a bare loop (ARGS="large --rounds 3")
	$(CARGO) run --release --locked --package tidegate-bench -- --server target/release/tidegate $(ARGS)
