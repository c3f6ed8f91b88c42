# The everyday commands. `make run` and `make test` also install what the machine lacks.

SHELL := bash
STACK := .stack/stack.json

# For `make load`.
USERS ?= 200
RATE ?= 500
DURATION ?= 20

.DEFAULT_GOAL := help
.PHONY: help run test smoke load bench bench-compare bench-scaling bench-history build format lint clean

help: ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

run: build ## two gateways and a worker in the foreground, http://localhost:8080
	Scripts/stack run

# Four tests at once: most start servers of their own, and a machine that is late by seconds proves nothing.
test: ## all tests, on private servers
	Scripts/bootstrap --tests --browser
	swift build --build-tests
	swift test --skip-build --disable-xctest --experimental-maximum-parallelization-width 4
	.venv/bin/pytest -p no:cacheprovider Tests/Acceptance

# The tests run a debug build, and the optimizer has a mind of its own.
smoke: build ## the release build under a little load, on private servers
	Scripts/stack up --dir .stack-smoke
	.build/release/parley-load chat --stack .stack-smoke/stack.json --users 50 --rate 100 --duration 5 --processes 2 \
		&& .build/release/parley-load group --stack .stack-smoke/stack.json --users 40 --members 20 --rate 10 --duration 5; \
		status=$$?; Scripts/stack down --wipe --dir .stack-smoke; exit $$status

load: ## the load generator against the running stack (USERS, RATE, DURATION)
	@test -f $(STACK) || { echo "no stack runs: make run, or Scripts/stack up"; exit 1; }
	@mkdir -p .bench
	.build/release/parley-load chat --stack $(STACK) --users $(USERS) --rate $(RATE) --duration $(DURATION) \
		--json .bench/load.json --html .bench/load.html

bench: build ## all benchmarks, each on a stack of its own, and the README's tables from them
	Scripts/bench run
	Scripts/bench table

bench-compare: ## the results of the last `make bench` beside others (BASE=DIR)
	@test -n "$(BASE)" || { echo "compare with which results? make bench-compare BASE=DIR"; exit 2; }
	Scripts/bench compare "$(BASE)"

bench-scaling: build ## the same rate with 1, 2, 4 and 8 gateways, into the README too
	Scripts/bench scaling

bench-history: build ## pages of history with ten million messages in it, into the README too
	Scripts/bench history

build: ## the release build
	Scripts/bootstrap
	swift build -c release

format: ## format the Swift sources in place
	swift format --in-place --recursive --parallel Sources Tests Package.swift

lint: ## what CI checks of the style
	swift format lint --strict --recursive --parallel Sources Tests Package.swift

clean: ## remove what was built; stacks and their data stay
	rm -rf .build .venv
