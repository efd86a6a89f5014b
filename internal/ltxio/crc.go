package ltxio

import (
	"encoding/binary"
	"hash/crc64"
)

var crcTable = crc64.MakeTable(crc64.ISO)

// updateCRC is crc64.Update for the polynomial of LTX, and several times as
// fast. P = x^64 + x^4 + x^3 + x + 1 has so few terms that words can be folded
// with shifts instead of tables.
//
// Modulo P, x^256 is (x^4 + x^3 + x + 1)^4 = x^16 + x^12 + x^4 + 1. A word of
// 64 bits can therefore be multiplied by that and added to the word four
// positions later. The bits of the product beyond 64 are added to the word
// before that one.
func updateCRC(crc uint64, b []byte) uint64 {
	noteRead(b)
	return foldCRC(crc, b)
}

// foldCRC is updateCRC, unseen by the race detector.
//
//go:norace
func foldCRC(crc uint64, b []byte) uint64 {
	const words, size = 4, 32
	if len(b) < 2*size {
		return crc64.Update(crc, crcTable, b)
	}
	le := binary.LittleEndian // the lowest bit of a word belongs to the highest power, too
	w0, w1, w2, w3 := le.Uint64(b)^^crc, le.Uint64(b[8:]), le.Uint64(b[16:]), le.Uint64(b[24:])
	for b = b[size:]; len(b) >= size; b = b[size:] {
		w3 ^= w0<<60 ^ w0<<52 ^ w0<<48
		n0 := w0 ^ w0>>4 ^ w0>>12 ^ w0>>16 ^ w1<<60 ^ w1<<52 ^ w1<<48
		n1 := w1 ^ w1>>4 ^ w1>>12 ^ w1>>16 ^ w2<<60 ^ w2<<52 ^ w2<<48
		n2 := w2 ^ w2>>4 ^ w2>>12 ^ w2>>16 ^ w3<<60 ^ w3<<52 ^ w3<<48
		n3 := w3 ^ w3>>4 ^ w3>>12 ^ w3>>16
		w0, w1, w2, w3 = n0^le.Uint64(b), n1^le.Uint64(b[8:]), n2^le.Uint64(b[16:]), n3^le.Uint64(b[24:])
	}
	var rest [size]byte
	for i, w := range [words]uint64{w0, w1, w2, w3} {
		le.PutUint64(rest[8*i:], w)
	}
	return crc64.Update(crc64.Update(^uint64(0), crcTable, rest[:]), crcTable, b)
}
