# Everything here runs with Go and redis-server, but for e2e, which also needs Node.js, npm and the
# AWS CLI, and builds a real Vault and MinIO once, and soak, which uses that MinIO.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO        ?= go
PACKAGES  ?= ./...
FUZZTIME  ?= 20s
BENCHTIME ?= 1s
SOAKTIME  ?= 10m
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

TOOLS := .cache/bin
LINT  := $(TOOLS)/golangci-lint
VULN  := $(TOOLS)/govulncheck
VAULT := $(TOOLS)/vaultdev
MINIO := $(TOOLS)/minio
# The one that the broker's sessions are held to; newer is not to be had as a module.
MINIO_VERSION := v0.0.0-20260212201848-7aac2a2c5b7c

.PHONY: help
help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the static binary into bin/writ
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X github.com/writbroker/writ/cmd/writ/internal/cli.version=$(VERSION)' -o bin/writ ./cmd/writ

.PHONY: redis
redis: ## Install redis-server where it is missing and that is possible; the tests start their own
	@.ci/need redis-sentinel redis-server redis-sentinel redis-tools

.PHONY: test
test: redis ## Run every test of the main module
	$(GO) test -timeout 15m $(PACKAGES)

.PHONY: race
race: redis ## The same under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -timeout 25m $(PACKAGES)

.PHONY: lint
lint: $(LINT) ## Check format, go vet and golangci-lint
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not gofmt-ed:" $$unformatted; exit 1; fi
	$(GO) vet $(PACKAGES)
	cd e2e && $(GO) vet ./...
	$(LINT) run $(PACKAGES)

.PHONY: fuzz
fuzz: ## Fuzz each target for FUZZTIME
	@for package in $$($(GO) list $(PACKAGES)); do \
	  for target in $$($(GO) test -list '^Fuzz' "$$package" | grep '^Fuzz' || true); do \
	    echo "== $$package $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package"; \
	  done; \
	done

.PHONY: bench
bench: ## Run the micro-benchmarks, with allocations
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) $(PACKAGES)

.PHONY: cover
cover: ## Write coverage.out and print the total
	$(GO) test -coverpkg=./... -coverprofile=coverage.out $(PACKAGES)
	$(GO) tool cover -func=coverage.out | tail -n 1

.PHONY: mutants
mutants: ## Change the shipped code on purpose; each change must fail a test
	$(GO) test -count=1 -timeout 90m -tags mutants ./internal/mutants/...

.PHONY: soak
soak: $(MINIO) ## Kill a broker in two ways, break Redis and three replicas, for SOAKTIME each; use a 5 minute grant until MinIO ends it
	WRIT_SOAK=$(SOAKTIME) $(GO) test -count=1 -timeout 3h -v -run '^TestKill' ./cmd/writ/internal/app
	WRIT_SOAK=$(SOAKTIME) $(GO) test -count=1 -timeout 3h -v -run '^TestForgetting$$' ./cmd/writ/internal/forgetting
	cd e2e && WRIT_SOAK=$(SOAKTIME) $(GO) test -count=1 -timeout 30m -v -run '^TestMinIOEndsAShortGrant$$' .

.PHONY: e2e
e2e: e2e/oauth4webapi/node_modules/.package-lock.json e2e/awssdk/node_modules/.package-lock.json $(VAULT) $(MINIO) ## Test the built binary against foreign clients and servers
	@.ci/need /usr/bin/aws awscli
	cd e2e && $(GO) test -count=1 -timeout 20m ./...

e2e/%/node_modules/.package-lock.json: e2e/%/package.json e2e/%/package-lock.json
	@command -v npm >/dev/null || { echo "make e2e needs Node.js and npm: apt-get install -y --no-install-recommends nodejs npm"; exit 1; }
	cd e2e/$* && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

# Built as a command of its own module, which depends on more than all the rest.
$(MINIO): Makefile
	@test -x $@ && $(GO) version -m $@ | grep '$(MINIO_VERSION)' >/dev/null || \
	  { mkdir -p $(@D) && cd $(@D) && CGO_ENABLED=0 GOFLAGS= GOBIN="$$PWD" $(GO) install -trimpath -ldflags '-s -w' github.com/minio/minio@$(MINIO_VERSION); }
	@touch $@

.PHONY: demo
demo: ## Run the whole story in one process
	$(GO) run ./cmd/writ demo

.PHONY: vuln
vuln: $(VULN) ## Look for known vulnerabilities (needs the internet)
	$(VULN) $(PACKAGES)

.PHONY: check
check: test lint race e2e ## What CI runs

# The tools have a module of their own, which pins them, so that their many
# dependencies stay out of go.mod.
$(LINT): tools/go.mod tools/go.sum
	cd tools && $(GO) build -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

# So does Vault, which depends on more than all the rest.
$(VAULT): e2e/vaultdev/go.mod e2e/vaultdev/go.sum $(wildcard e2e/vaultdev/*.go)
	cd e2e/vaultdev && CGO_ENABLED=0 $(GO) build -trimpath -o ../../$@ .

$(VULN): tools/go.mod tools/go.sum
	cd tools && $(GO) build -o ../$@ golang.org/x/vuln/cmd/govulncheck
