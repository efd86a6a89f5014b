package pageshare

import "os"

// bootID returns what tells this start of the host from others.
func bootID() ([16]byte, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return [16]byte{}, err
	}
	return parseBootID(string(b))
}
