# Everything that a change has to pass; installs what it needs.
.PHONY: test
test:
	scripts/check
