package litestream

import (
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/write"
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

func TestIsSameOwner(t *testing.T) {
	long := strings.Repeat("x", 2*commitlog.MaxOwnerText)
	for _, tt := range []struct {
		a, b commitlog.Owner
		want bool
	}{
		{commitlog.Owner{}, commitlog.Owner{Replica: "r", Name: "n"}, true},
		{commitlog.Owner{Replica: "r", Name: "n"}, commitlog.Owner{Replica: "r", Name: "m"}, true},
		{commitlog.Owner{Replica: "r", Name: "n"}, commitlog.Owner{Replica: "s", Name: "n"}, false},
		{commitlog.Owner{Name: "n"}, commitlog.Owner{Replica: "s", Name: "n"}, true},
		{commitlog.Owner{Name: "n"}, commitlog.Owner{Name: "m"}, false},
		{ownerOf(nil, "", long+"1"), ownerOf(nil, "", long+"2"), false},
		{ownerOf(nil, "x://"+long, "n"), ownerOf(nil, "x://"+long, "n"), true},
	} {
		if got := write.IsSameOwner(tt.a, tt.b); got != tt.want {
			t.Errorf("%.20v and %.20v: %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
	if o := ownerOf(nil, "x://"+long, long); len(o.Replica) > commitlog.MaxOwnerText || len(o.Name) > commitlog.MaxOwnerText {
		t.Errorf("an owner has %d and %d bytes", len(o.Replica), len(o.Name))
	}
}
