package pageshare

import "golang.org/x/sys/unix"

// bootID returns what tells this start of the host from others.
func bootID() ([16]byte, error) {
	text, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return [16]byte{}, err
	}
	return parseBootID(text)
}
