package pageshare

// loadFence keeps loads before it from being done after those that follow it. An
// atomic load alone does not: earlier loads of a copied page may be done later.
func loadFence() { fence() }

// storeFence keeps stores before it from being seen after those that follow it.
func storeFence() { fence() }

// fence is a full memory barrier of the processors that share memory.
//
//go:noescape
func fence()
