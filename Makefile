# The everyday commands. `make run` and `make test` also install what the machine lacks.

SHELL := bash
STACK := .stack/stack.json
BENCH_DIR := .bench/stack
BENCH_STACK := $(BENCH_DIR)/stack.json

# For `make load` and `make bench`.
USERS ?= 200
RATE ?= 500
DURATION ?= 20

.DEFAULT_GOAL := help
.PHONY: help run test load bench build format lint clean

help: ## show this
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

run: build ## two gateways and a worker in the foreground, http://localhost:8080
	Scripts/stack run

test: ## all tests, on private servers
	Scripts/bootstrap --tests --browser
	swift build --build-tests
	swift test --skip-build --disable-xctest
	.venv/bin/pytest -p no:cacheprovider Tests/Acceptance

load: ## the load generator against the running stack (USERS, RATE, DURATION)
	@test -f $(STACK) || { echo "no stack runs: make run, or Scripts/stack up"; exit 1; }
	@mkdir -p .bench
	.build/release/parley-load chat --stack $(STACK) --users $(USERS) --rate $(RATE) --duration $(DURATION) \
		--json .bench/load.json

bench: build ## the README's figures, on a stack of their own
	@mkdir -p .bench
	Scripts/stack up --dir $(BENCH_DIR)
	trap 'Scripts/stack down --wipe --dir $(BENCH_DIR)' EXIT; \
	.build/release/parley-load connect --stack $(BENCH_STACK) --users 10000 --duration 60 --json .bench/connect.json && \
	.build/release/parley-load chat --stack $(BENCH_STACK) --users 1000 --rate 2000 --duration 60 --json .bench/chat.json

build: ## the release build
	Scripts/bootstrap
	swift build -c release

format: ## format the Swift sources in place
	swift format --in-place --recursive --parallel Sources Tests Package.swift

lint: ## what CI checks of the style
	swift format lint --strict --recursive --parallel Sources Tests Package.swift

clean: ## remove what was built; stacks and their data stay
	rm -rf .build .venv
