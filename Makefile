# Everything that a change has to pass; installs what it needs.
.PHONY: test
test:
	scripts/check

# The loadable extension for this machine, in build/.
.PHONY: extension
extension:
	scripts/extension
