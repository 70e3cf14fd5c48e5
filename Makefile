# build: bin/release. demo: the whole story on this machine, DRIVER=sandbox (default) or docker. test: all that CI checks
# of the code. bench: measures against peers, one after the other; BENCHMARKS.md keeps what was seen. stress: 100 cutovers
# under 1,000,000 requests, and a day with the agent, the router or a bake killed at every point, each time.

SHELL := /bin/bash
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
DRIVER ?= sandbox
# Two packages at a time: the suites start processes and containers, and some measure time.
PARALLEL ?= 2
TESTFLAGS ?=

# The race detector, without its check of pointers in reflect: that one checks the library, and takes a third of the time.
RACE := CGO_ENABLED=1 go test -race -gcflags=reflect=-d=checkptr=0

export CGO_ENABLED ?= 0

.PHONY: build payload hello demo test unit simulate mutate measure lint prepare bench stress clean

build: payload
	go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/release ./cmd/release

# The programs that go into images: the binary carries them.
payload:
	internal/payload/build

# The example's binary, as its recipe wants it.
hello:
	examples/hello/build $(VERSION)

demo: build
	DRIVER=$(DRIVER) go run ./test/demo

test: prepare lint unit

# The black-box tests run alone after all others, since they measure.
unit: build
	$(RACE) -p $(PARALLEL) -parallel $(PARALLEL) -timeout 25m $(TESTFLAGS) $$(go list ./... | grep -v '/release/test')
	$(RACE) -p 1 -parallel $(PARALLEL) -timeout 40m $(TESTFLAGS) ./test/...

# Days of agents in a world where everything goes wrong that may, drawn from seeds: SEEDS=n for another number than
# 10,000, SEED=n for one again. mutate: the same for defects that are put in, which the seeds must find; MUTATION=pattern for some.
simulate:
	RELEASE_SIMULATE=$(if $(SEED),seed=$(SEED),$(or $(SEEDS),10000)) GOGC=400 go test -count=1 -v -timeout 30m \
		-run '^($(if $(SEED),TestManySeeds,TestManySeeds|TestEveryCallMeetsEveryMishap|TestDaysOfVolumes))$$' ./orchestrator

mutate:
	RELEASE_SIMULATE=1 RELEASE_MUTATION='$(MUTATION)' GOGC=400 go test -count=1 -v -timeout 30m -run '^TestMutationsAreCaught$$' ./orchestrator

# False alarms of verdicts over 10,000 cutovers: without the race detector, which has no time for so many.
measure:
	go test -count=1 -v -run '^TestSimulatedFalseAlarms' ./orchestrator/canary

prepare:
	.ci/prepare

lint:
	.ci/lint

bench: build
	RELEASE_BENCH=1 go test -v -count=1 -p 1 -timeout 60m -run 'TestBake|TestDebian|TestLaunchOf|TestRouting|TestPeers|TestMemory|TestUnderApplies|TestOperating|TestImagesDiff|TestMachine' ./test/bench/...
	RELEASE_BENCH=1 go test -v -count=1 -timeout 30m -run '^TestScale(AtRest|ManyFail|Journal)$$' ./orchestrator

stress: payload
	RELEASE_STRESS=full go test -v -count=1 -timeout 60m ./test/stress
	RELEASE_STRESS=full go test -v -count=1 -timeout 90m -parallel $(PARALLEL) ./test/crash
	RELEASE_STRESS=full go test -v -count=1 -timeout 60m -run TestEverythingAtOnce ./test/agents

clean:
	rm -rf bin .cache examples/*/bin internal/payload/bin/*.gz
