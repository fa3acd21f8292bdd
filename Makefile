# clusterd: build, try, test. `make help` lists the targets.
SHELL := /bin/bash
GO ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
PACKAGES := systemd dbus busybox-static nftables iproute2 ca-certificates gcc libc6-dev
BINARIES := clusterd clusterctl nsrun nsrun-image

export GOFLAGS := -buildvcs=false

.PHONY: help build deps demo test test-unit test-functional check bench lab-down clean

help: ## show this
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: ## install what the operating system lacks (Debian, Ubuntu; root)
	@missing=; for p in $(PACKAGES); do \
	  dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing:$$missing"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi

build: ## build the programs into bin/
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ $(addprefix ./cmd/,$(BINARIES))

demo: deps build ## boot three machines here, run a unit on them, cut the power of one (root)
	@functional/demo.sh

lab-down: ## take the machines of the demo down (root)
	@bin/clusterctl lab down

test: deps build test-unit test-functional ## run all tests (root)

test-unit: ## unit tests, with the race detector
	$(GO) vet ./...
	$(GO) test -race ./agent/... ./cmd/... ./engine/... ./registry/... ./unit/...

test-functional: build ## tests on lab machines (root)
	$(GO) test -count=1 -timeout 20m ./functional/...

bench: PACKAGES += crun
bench: deps build ## measure the real thing on lab machines, ten minutes at most (root)
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 15m ./functional/

clean: ## remove what was built
	rm -rf bin
