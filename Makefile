# The gate: everything that a change has to pass. It installs what it needs.
.PHONY: test
test:
	scripts/check

# For every few minutes: no servers, no race detector.
.PHONY: fast
fast:
	scripts/check fast

# One step of the gate, as in make step-fuzz. scripts/check list prints their names.
step-%:
	scripts/check $*

# The loadable extension for this machine, in build/.
.PHONY: extension
extension:
	scripts/extension

# Two builds of both in different folders, which have to give the same bytes: some ten
# minutes of processor time.
.PHONY: reproducible
reproducible:
	scripts/reproducible

# NOTICE, after a change of dependencies.
.PHONY: notice
notice:
	scripts/notice

# ltxvfs, the program for operators, for this machine, in build/.
.PHONY: program
program:
	scripts/program

# Statements of the engine that tests run, by package.
.PHONY: coverage
coverage:
	scripts/coverage

# Changes of the engine that no test notices. This takes hours.
.PHONY: mutants
mutants:
	go run ./internal/mutants

# SQLite's own tests on databases in write mode. It is not a part of the gate.
.PHONY: sqlite-suite
sqlite-suite:
	scripts/sqlite-suite
