# clusterd: build, try, test. `make help` lists the targets.
SHELL := /bin/bash
GO ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
PACKAGES := systemd dbus busybox-static crun nftables iproute2 ca-certificates gcc libc6-dev
BINARIES := clusterd clusterctl nsrun-image nsrun-network

export GOFLAGS := -buildvcs=false

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: help build deps demo test check lint test-unit test-functional fuzz bench bench-runtime bench-scale lab-down clean

help: ## show this
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: ## install what the operating system lacks (Debian, Ubuntu; root)
	@[ "$$(id -u)" = 0 ] || { echo "make: this needs root, as it installs packages and boots machines; try sudo make" >&2; exit 1; }
	@missing=; for p in $(PACKAGES); do \
	  dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing:$$missing"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi

build: ## build the programs into bin/
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ $(addprefix ./cmd/,$(BINARIES))
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/nsrun-full ./cmd/nsrun
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -tags lean -o bin/nsrun ./cmd/nsrun

demo: deps build ## boot three machines here, run a unit on them, cut the power of one (root)
	@functional/demo.sh

lab-down: ## take the machines of the demo down (root)
	@bin/clusterctl lab down

test: deps build lint test-unit test-functional ## run all tests (root)

check: lint test-unit fuzz ## everything that boots no machine, and some fuzzing

lint: ## formatting, vet (nsrun, with its assembly, for arm64 too), staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "not formatted: $$unformatted" >&2; exit 1; }
	$(GO) vet ./...
	CGO_ENABLED=0 GOARCH=arm64 $(GO) vet ./agent/runtime/... ./cmd/nsrun
	$(GO) vet -tags lean ./cmd/nsrun
	CGO_ENABLED=0 GOARCH=arm64 $(GO) build -tags lean -o /dev/null ./cmd/nsrun
	$(GO) run $(STATICCHECK) -checks inherit,-ST1005 ./...

test-unit: ## unit tests, with the race detector
	$(GO) test -race ./agent/... ./cmd/... ./engine/... ./registry/... ./unit/...

fuzz: ## each fuzz test for a moment
	@grep -rn --include='*_test.go' '^func Fuzz' . | sed -E 's|^(.*)/[^/]*:[0-9]+:func (Fuzz[A-Za-z0-9_]*).*|\1 \2|' | \
	while read -r package name; do $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime 2s $$package || exit 1; done

# A test that fails is run once more, alone, to tell a defect from a machine that
# was busy with something else for a moment; both runs are shown.
test-functional: build ## tests on lab machines (root)
	@set -o pipefail; log=$$(mktemp); trap 'rm -f $$log' EXIT; \
	$(GO) test -count=1 -timeout 20m ./functional/... 2>&1 | tee $$log && exit 0; \
	tests=$$(sed -nE 's/^--- FAIL: (Test[A-Za-z0-9_]+).*/\1/p' $$log | sort -u | paste -sd'|'); \
	packages=$$(sed -nE 's|^FAIL[[:space:]]+github.com/clusterd/clusterd/(functional[^[:space:]]*).*|./\1|p' $$log | sort -u); \
	[ -n "$$tests" ] && [ -n "$$packages" ] || exit 1; \
	echo "failed, and run once more: $$tests"; \
	$(GO) test -count=1 -timeout 10m -run "^($$tests)$$" $$packages

bench: deps build ## measure clusters of lab machines, ten minutes at most (root)
	$(GO) test -run '^$$' -bench . -skip '^BenchmarkRuntime' -benchtime 1x -timeout 15m ./functional/

bench-runtime: PACKAGES += runc podman bubblewrap
bench-runtime: deps build ## measure nsrun beside crun, runc, podman and bwrap (root)
	$(GO) test -run '^$$' -bench '^BenchmarkRuntime' -benchtime 1x -timeout 15m ./functional/
	$(GO) test -run '^$$' -bench '^BenchmarkPull' -benchtime 5x -timeout 15m ./agent/image/pull/

bench-scale: ## a million units on 10,000 hollow machines; 20 minutes, 16 GiB of memory
	$(GO) test -run '^$$' -bench '^BenchmarkScale' -benchtime 1x -timeout 60m ./engine/sim/hollow/

clean: ## remove what was built
	rm -rf bin
