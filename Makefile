# OpenTOE. `make help` lists the targets.

GO       ?= go
BIN      := bin
BUILD    := build
COMMANDS := toed toerun toectl
UNIT     := ./...
FUZZTIME ?= 20s
# Two cores are enough for everything here; packages one at a time keep timing-free tests quick.
GOTEST   := $(GO) test -timeout 20m

.PHONY: help all build shim formatted check test unit invariants sim behaviour longfat race sanitize e2e endure hostile fuzz bench generate fmt demo demo-stop clean deps packetdrill apps apps-quick

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

all: build check ## build, and check the sources

build: shim ## build toed, toerun, toectl and the preload library
	@$(GO) build -o $(BIN)/ $(addprefix ./cmd/,$(COMMANDS))

shim:
	@$(MAKE) --no-print-directory -s -C sockshim/preload

formatted:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "make fmt mends it"; exit 1; }

check: formatted ## formatting, vet, generated files up to date, architecture
	@$(GO) vet ./... && $(GO) vet -tags e2e,apps ./test/... && $(GO) vet -tags invariants ./...
	@$(GOTEST) ./test/architecture ./hwregs/... ./sockshim/shm

test: deps build formatted ## install what is needed, then run every test
	@$(GO) vet ./... && $(GO) vet -tags e2e,apps ./test/...
	@$(MAKE) --no-print-directory unit invariants sim race sanitize e2e apps-quick hostile fuzz

unit: ## unit tests
	$(GOTEST) $(UNIT)

invariants: ## unit tests of the protocol engine with its invariants checked at every step
	$(GOTEST) -tags invariants ./tcpoffload/... ./toe/...

sim: ## SEEDS=n worlds drawn from seeds (2000), with the engine's invariants; SEED=k replays one with its trace
	$(GOTEST) -count=1 -tags invariants ./tcpoffload/sim -run 'TestSim$$' $(if $(SEED),-v -seed=$(SEED),-seeds=$(or $(SEEDS),2000))

behaviour: ## measure goodput, fairness, recovery, queues and long fat pipes on virtual time: docs/BEHAVIOUR.md
	$(GOTEST) -count=1 ./tcpoffload/sim -run 'TestBehaviour$$' -update

longfat: ## one stream over 10 and 16 Gb/s × 433 ms, on virtual time
	$(GOTEST) -count=1 ./tcpoffload/sim -run 'TestLongFatPipe$$' -v

race: ## unit tests under the race detector
	$(GOTEST) -race -short $(UNIT)

sanitize: build ## socket programs on the preload library built with sanitizers, but for those that do without it
	@$(MAKE) --no-print-directory -s -C sockshim/preload SAN=1
	SAN=1 $(GOTEST) -count=1 -skip 'TestGoClient|TestSupervised' ./test/sockets

e2e: build ## unmodified programs over a real wire; needs root
	$(GOTEST) -count=1 -tags e2e -v -timeout 30m ./test/e2e

endure: build ## COUNT=n short connections (1000000) and KILLS=n clients killed under load (200): no leak, no growth; needs root
	KILLS=$(or $(KILLS),200) $(GOTEST) -count=1 -v ./test/sockets -run 'TestKilled$$'
	KILLS=$(or $(KILLS),200) CONNECTIONS=$(or $(COUNT),1000000) $(GO) test -count=1 -tags e2e -v -timeout 60m ./test/e2e -run 'TestKilled$$|TestEndure$$'

apps: build ## every program of docs/APPS.md, or APP=name some; installs them; needs root
	@.ci/deps apps
	$(GO) test -count=1 -tags apps -v -timeout 40m -parallel 2 ./test/apps -update $(if $(APP),-run 'TestApps/all/$(APP)')

apps-quick: build
	$(GO) test -count=1 -tags apps -v -timeout 20m -parallel 2 ./test/apps -quick

packetdrill: ## the engine as a plug-in for packetdrill: docs/CONFORMANCE.md says how to use it
	@mkdir -p $(BUILD)
	@$(GO) build -buildmode=c-shared -o $(BUILD)/libpacketdrill_toe.so ./test/packetdrill
	@rm -f $(BUILD)/libpacketdrill_toe.h
	@$(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -shared -fPIC -o $(BUILD)/libpacketdrill_preload.so \
		test/packetdrill/preload/preload.c -ldl

fuzz: ## fuzz every parser and descriptor path for FUZZTIME each
	@.ci/fuzz $(FUZZTIME)

hostile: ## TIME=t programs that write garbage into what they share with toed, beside honest ones (30s)
	$(GOTEST) -count=1 -v -timeout 0 ./test/hostile -args -for $(or $(TIME),30s)

bench: ## benchmarks of the data path, written to build/bench.txt
	@mkdir -p $(BUILD)
	$(GO) test -run '^$$' -bench . -benchmem ./tcpoffload/... ./pmd/... ./toe/... ./ports/... ./sockshim/... | tee $(BUILD)/bench.txt

generate: ## regenerate what is generated: register map, shared-memory layout
	$(GO) generate ./...

fmt: ## format Go and C
	@gofmt -w $$(git ls-files '*.go')
	@clang-format -i $$(git ls-files '*.c' '*.h') 2>/dev/null || echo "clang-format is not installed: C left as it is"

demo: deps build ## unmodified nginx and curl over the TOE; KEEP=1 leaves it running
	@$(GO) build -o $(BUILD)/demo ./test/demo
	@exec $(BUILD)/demo $(if $(KEEP),--keep)

demo-stop: ## end a demo that KEEP=1 left running
	@$(GO) build -o $(BUILD)/demo ./test/demo
	@exec $(BUILD)/demo --stop

clean: ## remove what was built
	@rm -rf $(BIN) $(BUILD)
	@$(MAKE) --no-print-directory -s -C sockshim/preload clean

deps: ## install missing Debian packages (root)
	@.ci/deps
