//go:build !unix

package killtest

func (g *shareGroup) stopOwner() {}
