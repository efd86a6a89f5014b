package replica_test

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
)

func TestNewFromURL_Parts(t *testing.T) {
	var parts []string
	client := memory.NewReplicaClient()
	replica.Register("parts", func(scheme, host, urlPath string, query url.Values, userinfo *url.Userinfo) (replica.Client, error) {
		parts = []string{scheme, host, urlPath, query.Encode(), userinfo.String()}
		return client, nil
	})
	for rawURL, want := range map[string][]string{
		"parts://host/a/b?x=1&y=%3B": {"parts", "host", "/a/b", "x=1&y=%3B", ""},
		"parts:relative/path":        {"parts", "", "relative/path", "", ""},
		"parts:a%23b":                {"parts", "", "a#b", "", ""},
		"parts://user:pass@host":     {"parts", "host", "", "", "user:pass"},
		"parts:///absolute":          {"parts", "", "/absolute", "", ""},
	} {
		got, err := replica.NewFromURL(rawURL)
		if err != nil || got != client || !slices.Equal(parts, want) {
			t.Errorf("%s: client %v with parts %q, error %v, want parts %q", rawURL, got, parts, err, want)
		}
	}
}

func TestRegister_Replaces(t *testing.T) {
	first, second := memory.NewReplicaClient(), memory.NewReplicaClient()
	for _, client := range []replica.Client{first, second} {
		replica.Register("replaced", func(_, _, _ string, _ url.Values, _ *url.Userinfo) (replica.Client, error) { return client, nil })
	}
	if got, err := replica.NewFromURL("replaced:x"); err != nil || got != second {
		t.Errorf("got %p, %v, want the client of the later registration, %p", got, err, second)
	}
}

func TestNewFromURL_Errors(t *testing.T) {
	const secret = "s3cr3t"
	refused := errors.New("refused")
	replica.Register("refusing", func(_, _, _ string, _ url.Values, _ *url.Userinfo) (replica.Client, error) { return nil, refused })
	if _, err := replica.NewFromURL("refusing:x"); !errors.Is(err, refused) || err.Error() != "replica url of scheme refusing: refused" {
		t.Errorf("error of a factory: %v", err)
	}
	for rawURL, want := range map[string]string{
		"unknown://" + secret:          `no replica client is registered for url scheme "unknown"`,
		"/path/" + secret:              "it has no scheme",
		"refusing:x#" + secret:         "it has a fragment",
		"refusing:x?a=" + secret + ";": "parameters are malformed",
		"refusing:%zz" + secret:        "not percent-encoded",
		"refusing:%00" + secret:        "path has a zero byte",
		"refusing://h/%zz" + secret:    "not percent-encoded",
	} {
		_, err := replica.NewFromURL(rawURL)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: error %v, want one with %q and without %s", rawURL, err, want, secret)
		}
	}
}
