# Where rustup installs cargo, for a terminal that was opened before Rust was installed.
export PATH := $(PATH):$(HOME)/.cargo/bin
built = $${CARGO_TARGET_DIR:-target}
# Where cargo-pgo puts its program.
optimised = $(built)/$$(rustc -vV | sed -n 's/^host: //p')/release/ringfence

# cargo fmt does not find modules that a macro declares.
sources = $$(find src tests benches -name '*.rs')

.PHONY: help run test psql chaos bench pgo fuzz format lint tools

help: ## List these targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: tools ## Build and run Ringfence, with its own PostgreSQL unless DATABASE_URL is set; ARGS="…" is passed on.
	cargo build --release
	@exec "$(built)/release/ringfence" $(ARGS)

test: tools ## Run all tests on a throw-away PostgreSQL; ARGS=contacts:: runs those whose names contain it.
	cargo build --bins --tests
	@if cargo nextest --version >/dev/null 2>&1; then run="nextest run"; else run=test; fi; \
	set -x; exec "$(built)/debug/ringfence" local --temporary -- cargo $$run $(ARGS)

psql: tools ## Open psql on a throw-away database at the newest migration; ARGS="-c '\sf app.deal_stage'" is passed on.
	cargo build --bins
	@exec "$(built)/debug/ringfence" local --temporary -- psql $(ARGS)

chaos: tools ## Inject faults into a running system and check that nothing is lost; MINUTES=30, ONLY="a fault".
	cargo build --bins --tests
	CHAOS_MINUTES="$(or $(MINUTES),3)" CHAOS_ONLY="$(ONLY)" cargo test --test it chaos:: -- --ignored --test-threads 1 --nocapture

bench: tools ## Measure what a request costs beside pgbench; ARGS=--quick takes minutes, ONLY=talking, workflows, reports, import or backfill runs another one.
	cargo bench --bench $(or $(ONLY),requests) -- $(ARGS)

pgo: tools ## Build the fastest program, optimised for requests like those of make bench; three builds (needs cargo-pgo).
	@cargo pgo --version >/dev/null 2>&1 || { echo "make pgo needs cargo-pgo: cargo install cargo-pgo && rustup component add llvm-tools" >&2; exit 1; }
	cargo pgo build -- --bin ringfence
	cargo bench --profile dev --bench requests -- --quick --companies 50 --contacts 50000 --program "$(optimised)"
	cargo pgo optimize build -- --bin ringfence
	@echo "$(optimised) is optimised for what it does most. make bench ARGS=\"--program $(optimised)\" measures it."

fuzz: tools ## Send requests that the API's document allows or forbids (needs schemathesis and curl: pip install schemathesis); ARGS="…" is passed on.
	@command -v schemathesis >/dev/null || { echo "make fuzz needs schemathesis: pip install schemathesis" >&2; exit 1; }
	cargo build --bins
	@"$(built)/debug/ringfence" local --temporary -- tests/fuzz.sh "$(built)/debug/ringfence" $(ARGS)

format: tools ## Format the code.
	cargo fmt -- $(sources)

lint: tools ## Check format, lints, and licences and sources of dependencies (with cargo-deny, if installed).
	cargo fmt --check -- $(sources)
	cargo clippy --all-targets -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then set -x; cargo deny check bans licenses sources; fi

tools:
	@command -v cargo >/dev/null || { echo "Ringfence needs Rust: install it as https://rustup.rs says, then try again." >&2; exit 1; }
	@command -v cc >/dev/null || { echo "Rust needs a C compiler to link with: install one (Debian, Ubuntu: apt-get install gcc libc6-dev; Fedora: dnf install gcc; macOS: xcode-select --install), then try again." >&2; exit 1; }
