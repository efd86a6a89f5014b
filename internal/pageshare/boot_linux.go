package pageshare

import (
	"encoding/binary"
	"os"

	"github.com/cespare/xxhash/v2"
)

// firstClock is the name of the time namespace that the host has when it starts.
const firstClock = "time:[4026531834]"

// bootID returns what tells this start of the host from others. Processes of
// another time namespace have another clock, so the times that this process writes
// mean nothing to them: they are as of another boot.
func bootID() ([16]byte, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return [16]byte{}, err
	}
	id, err := parseBootID(string(b))
	if err != nil {
		return id, err
	}
	clock, err := os.Readlink("/proc/self/ns/time")
	if err != nil || clock == firstClock {
		return id, nil // a system without time namespaces has one clock
	}
	return withClock(id, clock), nil
}

// withClock returns the ID of a boot for a time namespace.
func withClock(id [16]byte, clock string) [16]byte {
	sum := binary.BigEndian.Uint64(id[:]) ^ xxhash.Sum64String(clock)
	binary.BigEndian.PutUint64(id[:], sum)
	return id
}
