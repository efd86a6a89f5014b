package sftp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const (
	envPassword   = "LITESTREAM_SFTP_PASSWORD"
	envKeyPath    = "LITESTREAM_SFTP_KEY_PATH"
	envPassphrase = "LITESTREAM_SFTP_KEY_PASSPHRASE"
	envAgent      = "SSH_AUTH_SOCK"
)

// auth is what a client offers a server to let it in. It does not change.
type auth struct {
	password string
	key      ssh.Signer // nil: none
	agent    string     // path of the agent's socket; empty: none
	defaults []ssh.Signer
}

// newAuth reads the keys of a client. Its errors have nothing of a key.
func newAuth(c *ReplicaClient) (auth, error) {
	a := auth{password: cmp.Or(c.Password, os.Getenv(envPassword))}
	if file := cmp.Or(c.KeyPath, os.Getenv(envKeyPath)); file != "" {
		key, err := readKey(file, cmp.Or(c.KeyPassphrase, os.Getenv(envPassphrase)))
		if err != nil {
			return auth{}, clientio.Permanent(fmt.Errorf("read key %s: %w", file, clientio.WithoutClass(err)))
		}
		a.key = key
	}
	if a.password != "" || a.key != nil {
		return a, nil
	}
	a.agent = os.Getenv(envAgent)
	if home, err := os.UserHomeDir(); err == nil {
		for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
			// A key that is missing, or needs a passphrase, is not offered.
			if key, err := readKey(filepath.Join(home, ".ssh", name), ""); err == nil {
				a.defaults = append(a.defaults, key)
			}
		}
	}
	if a.agent == "" && len(a.defaults) == 0 {
		return auth{}, clientio.Invalid("no password, no key file, no agent and no unencrypted key in ~/.ssh: set %s, or %s or the parameter key-path", envPassword, envKeyPath)
	}
	return a, nil
}

// readKey reads a private key.
func readKey(file, passphrase string) (ssh.Signer, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(b)
	var encrypted *ssh.PassphraseMissingError
	switch {
	case err == nil:
		return key, nil
	case !errors.As(err, &encrypted):
		return nil, errors.New("file is no private key")
	case passphrase == "":
		return nil, fmt.Errorf("key is encrypted: set %s", envPassphrase)
	}
	if key, err = ssh.ParsePrivateKeyWithPassphrase(b, []byte(passphrase)); err != nil {
		return nil, errors.New("passphrase is wrong")
	}
	return key, nil
}

// methods returns what a connection offers to the server, and a function to call
// after the handshake.
func (a auth) methods(ctx context.Context) (methods []ssh.AuthMethod, done func(), err error) {
	done = func() {}
	var signers []ssh.Signer
	if a.key != nil {
		signers = append(signers, a.key)
	}
	if a.agent != "" {
		conn, err := (&net.Dialer{Timeout: connectTimeout}).DialContext(ctx, "unix", a.agent)
		switch {
		case err == nil:
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			done = func() {
				stop()
				_ = conn.Close() // only read from
			}
			keys, err := agent.NewClient(conn).Signers()
			if err != nil {
				done()
				return nil, nil, fmt.Errorf("ask the agent at %s for keys: %w", envAgent, err)
			}
			signers = append(signers, keys...)
		case len(a.defaults) == 0:
			return nil, nil, fmt.Errorf("connect to the agent at %s: %w", envAgent, clientio.WithoutClass(err))
		}
	}
	signers = append(signers, a.defaults...)
	if len(signers) > 0 {
		methods = append(methods, ssh.PublicKeys(signers...))
	}
	if a.password != "" {
		// Many servers ask for a password by the second method only.
		methods = append(methods, ssh.Password(a.password), ssh.KeyboardInteractive(a.answer))
	}
	return methods, done, nil
}

// answer answers the questions of a server with the password, as long as they look
// like one for it.
func (a auth) answer(_, _ string, questions []string, echos []bool) ([]string, error) {
	answers := make([]string, len(questions))
	for i := range questions {
		if echos[i] {
			return nil, errors.New("server asks for more than a password")
		}
		answers[i] = a.password
	}
	return answers, nil
}

// names names what is offered, for errors.
func (a auth) names() string {
	var names []string
	if a.key != nil {
		names = append(names, "the key")
	}
	if a.agent != "" {
		names = append(names, "the keys of the agent")
	}
	if len(a.defaults) > 0 {
		names = append(names, "the keys in ~/.ssh")
	}
	if a.password != "" {
		names = append(names, "the password")
	}
	return strings.Join(names, " and ")
}

// redact takes the password out of a text that the server has a part in.
func (a auth) redact(text string) string {
	if a.password == "" {
		return text
	}
	return strings.ReplaceAll(text, a.password, "[...]")
}
