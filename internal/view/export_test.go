package view

// SourceNodeLen is the number of slots of a node of a source table.
const SourceNodeLen = sourceNodeLen

// SourceSlots returns the number of slots that the source table of v has.
func SourceSlots(v *View) int { return len(v.Pages.sources.nodes) * sourceNodeLen }

// ChunkLen is the number of pages of a chunk of the page table.
const ChunkLen = chunkLen

// FormOf returns the form of the chunk of the page table that has a page.
func FormOf(v *View, pgno uint32) string {
	switch c := v.Pages.chunk(pgno); {
	case c == nil:
		return "none"
	case c.run != nil:
		return "run"
	case c.few != nil:
		return "few"
	}
	return "packed"
}

// MaxFew is the maximum number of pages of a chunk in the form for few pages.
const MaxFew = maxFew
