package litestream

import (
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/commitlog"
)

func TestIdentityOfURL(t *testing.T) {
	for in, want := range map[string]string{
		"nats://user:secret@Host:4222/bucket/a?token=secret#secret": "nats://host:4222/bucket/a",
		"sftp:opaque/part?password=secret":                          "sftp:opaque/part",
		"":                                                          "",
		"no url":                                                    "",
		"nats://%zz":                                                "",
	} {
		if got := identityOfURL(in); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

// TestOwnerOf_Long checks that an owner too long for the header of a segment is
// shortened.
func TestOwnerOf_Long(t *testing.T) {
	long := strings.Repeat("x", 2*commitlog.MaxOwnerText)
	if a, b := ownerOf(nil, "", long+"1"), ownerOf(nil, "", long+"2"); a.Name == b.Name {
		t.Errorf("two long names are the same: %.20v", a)
	}
	if a, b := ownerOf(nil, "x://"+long, "n"), ownerOf(nil, "x://"+long, "n"); a != b || a.Replica == "" {
		t.Errorf("a long URL gives %.20v and %.20v", a, b)
	}
	if o := ownerOf(nil, "x://"+long, long); len(o.Replica) > commitlog.MaxOwnerText || len(o.Name) > commitlog.MaxOwnerText {
		t.Errorf("an owner has %d and %d bytes", len(o.Replica), len(o.Name))
	}
}
