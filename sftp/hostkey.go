package sftp

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const (
	envHostKey    = "LITESTREAM_SFTP_HOST_KEY"
	envKnownHosts = "LITESTREAM_SFTP_KNOWN_HOSTS"
)

// hostKeys says which keys a server may have. The first that is set counts.
type hostKeys struct {
	any   bool
	fixed *hostKey
	files []string // in the format of known_hosts
	given bool     // a user named the file, so it has to exist
}

// hostKey is a key that is known in full, or by its fingerprint.
type hostKey struct {
	key         ssh.PublicKey // nil if only the fingerprint is known
	fingerprint string
}

func newHostKeys(c *ReplicaClient) (hostKeys, error) {
	if c.InsecureSkipHostKey {
		return hostKeys{any: true}, nil
	}
	if text := cmp.Or(c.HostKey, os.Getenv(envHostKey)); text != "" {
		key, err := parseHostKey(text)
		return hostKeys{fixed: key}, err
	}
	if file := cmp.Or(c.KnownHosts, os.Getenv(envKnownHosts)); file != "" {
		return hostKeys{files: []string{file}, given: true}, nil
	}
	keys := hostKeys{files: []string{"/etc/ssh/ssh_known_hosts"}}
	if home, err := os.UserHomeDir(); err == nil {
		keys.files = append(keys.files, filepath.Join(home, ".ssh", "known_hosts"))
	}
	return keys, nil
}

// parseHostKey parses a line of a public key, or a fingerprint.
func parseHostKey(text string) (*hostKey, error) {
	text = strings.TrimSpace(text)
	if sum, ok := strings.CutPrefix(text, "SHA256:"); ok {
		b, err := base64.RawStdEncoding.DecodeString(sum)
		if err != nil || len(b) != sha256.Size {
			return nil, clientio.Invalid("host key is no fingerprint like SHA256:... of 43 characters")
		}
		return &hostKey{fingerprint: text}, nil
	}
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil || len(rest) > 0 {
		return nil, clientio.Invalid(`host key is neither a public key like "ssh-ed25519 AAAA..." (with + as %%2B in a url) nor a fingerprint like SHA256:...`)
	}
	return &hostKey{key: key, fingerprint: ssh.FingerprintSHA256(key)}, nil
}

// prepare returns a function that checks the key of the server, and the
// algorithms of keys to ask the server for; nil: any. Files are read for each
// connection, because they may change.
func (k hostKeys) prepare(addr string) (ssh.HostKeyCallback, []string, error) {
	switch {
	case k.any:
		return ssh.InsecureIgnoreHostKey(), nil, nil
	case k.fixed != nil:
		return k.fixed.check, k.fixed.algorithms(), nil
	}
	var files []string
	for _, file := range k.files {
		if _, err := os.Stat(file); err == nil || k.given {
			files = append(files, file)
		}
	}
	known, err := knownhosts.New(files...)
	if err != nil {
		return nil, nil, clientio.Permanent(fmt.Errorf("read known hosts: %w", clientio.WithoutClass(err)))
	}
	check := func(host string, remote net.Addr, key ssh.PublicKey) error {
		return k.explain(known(host, remote, key), host, key)
	}
	return check, algorithmsOf(knownKeys(known, addr)), nil
}

// check is a ssh.HostKeyCallback.
func (k *hostKey) check(host string, _ net.Addr, key ssh.PublicKey) error {
	if got := ssh.FingerprintSHA256(key); got != k.fingerprint {
		return clientio.Permanent(fmt.Errorf("server has the host key %s %s, want %s: another server answers, or its key has changed", key.Type(), got, k.fingerprint))
	}
	return nil
}

func (k *hostKey) algorithms() []string {
	if k.key == nil {
		return nil
	}
	return algorithmsOf([]ssh.PublicKey{k.key})
}

// explain returns the error of knownhosts with what to do about it.
func (k hostKeys) explain(err error, host string, key ssh.PublicKey) error {
	var unknown *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &revoked):
		err = fmt.Errorf("host key %s of the server is revoked in %s", ssh.FingerprintSHA256(key), revoked.Revoked.Filename)
	case !errors.As(err, &unknown):
	case len(unknown.Want) > 0:
		known := unknown.Want[0]
		err = fmt.Errorf("server has the host key %s %s, but %s line %d has another: another server answers, or its key has changed",
			key.Type(), ssh.FingerprintSHA256(key), known.Filename, known.Line)
	default:
		name, port := splitHost(host)
		err = fmt.Errorf("host key %s %s of the server is not known: if it is right, set host-key to it, or add the output of ssh-keyscan -p %s %s to %s",
			key.Type(), ssh.FingerprintSHA256(key), port, name, k.files[len(k.files)-1])
	}
	return clientio.Permanent(clientio.WithoutClass(err))
}

// knownKeys returns the keys that files have for a server.
func knownKeys(known ssh.HostKeyCallback, addr string) (keys []ssh.PublicKey) {
	var unknown *knownhosts.KeyError
	if err := known(addr, &net.TCPAddr{IP: net.IPv4zero}, noKey{}); errors.As(err, &unknown) {
		for _, want := range unknown.Want {
			keys = append(keys, want.Key)
		}
	}
	return keys
}

// noKey is a key that no server has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// algorithmsOf returns the algorithms by which a server can prove that it has one
// of the keys; nil if there are none. Without that, a server with several keys
// could show one that is not known.
func algorithmsOf(keys []ssh.PublicKey) (algorithms []string) {
	for _, key := range keys {
		of := []string{key.Type()}
		if key.Type() == ssh.KeyAlgoRSA {
			of = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
		}
		for _, a := range of {
			if !slices.Contains(algorithms, a) {
				algorithms = append(algorithms, a)
			}
		}
	}
	return algorithms
}
