package ltxio

// State returns the sum as two numbers, which SumOf turns into the same sum
// again. A program that continues an interrupted read keeps them.
func (s Sum) State() (crc uint64, size int64) { return s.crc, s.n }

// SumOf returns the sum with a state.
func SumOf(crc uint64, size int64) Sum { return Sum{crc: crc, n: size} }
