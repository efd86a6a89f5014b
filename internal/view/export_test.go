package view

// SourceNodeLen is the number of slots of a node of a source table.
const SourceNodeLen = sourceNodeLen

// SourceSlots returns the number of slots that the source table of v has.
func SourceSlots(v *View) int { return len(v.Pages.sources.nodes) * sourceNodeLen }

// ChunkLen is the number of pages of a chunk of the page table.
const ChunkLen = chunkLen
