package webdav

import (
	"encoding/hex"
	"path"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// FuzzAnswer checks that a listing has names of what lies directly in the folder only,
// that a lock lasts no longer than was asked for, and that demands for credentials are answered in one line, without the password.
func FuzzAnswer(f *testing.F) {
	f.Add(`<D:multistatus xmlns:D="DAV:"><D:response><D:href>/a/b/</D:href><D:propstat><D:status>HTTP/1.1 200 OK</D:status><D:prop><D:resourcetype><D:collection/></D:resourcetype></D:prop></D:propstat></D:response>`+
		`<D:response><D:href>/a/b/x%20y</D:href><D:propstat><D:prop><D:getcontentlength>7</D:getcontentlength><D:getetag>W/"1"</D:getetag></D:prop></D:propstat></D:response></D:multistatus>`,
		`Digest realm="a\"b", nonce=1, qop="auth,auth-int", algorithm=SHA-256`)
	f.Add(`<multistatus xmlns="DAV:"><response><href>/a/b/x/.</href></response><response><href>/a/b/%2e%2e/b/%2e</href></response><response><href>/a/b/c%2Fd</href></response></multistatus>`, `Basic`)
	f.Add(`<multistatus xmlns="DAV:"><response><href>http://h/a/b</href></response></multistatus>`, `Digest nonce="`)
	f.Add(`<D:prop xmlns:D="DAV:"><D:lockdiscovery><D:activelock><D:timeout>Infinite, Second-30</D:timeout></D:activelock></D:lockdiscovery></D:prop>`, `Digest`)
	f.Fuzz(func(t *testing.T, content, header string) {
		if entries, err := parseEntries("/a/b", []byte(content)); err == nil {
			for _, e := range entries {
				if path.Base(e.name) != e.name || clientio.CheckDir(e.name+"/") != nil || e.size < -1 {
					t.Errorf("listing has %q of %d bytes", e.name, e.size)
				}
			}
		}
		if lasts := grantedTime(strings.NewReader(content)); lasts < 0 || lasts > lockTime {
			t.Errorf("a lock lasts %s", lasts)
		}
		const password = "s3cr3t-password"
		c, _ := parseChallenges([]string{header})
		if c == nil || c.basic {
			return
		}
		text := c.digest("user", password, "GET", "/a/b")
		if strings.ContainsAny(header, "\r\n") || strings.Contains(header, password) || strings.Contains(header, hex.EncodeToString([]byte(password))) {
			return
		}
		if strings.ContainsAny(text, "\r\n") || strings.Contains(text, password) {
			t.Errorf("answer to %q: %q", header, text)
		}
	})
}
