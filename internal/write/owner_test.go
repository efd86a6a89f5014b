package write

import (
	"testing"

	"github.com/ltxvfs/litestream/internal/commitlog"
)

func TestIsSameOwner(t *testing.T) {
	for _, tt := range []struct {
		a, b commitlog.Owner
		want bool
	}{
		{commitlog.Owner{}, commitlog.Owner{Replica: "r", Name: "n"}, true},
		{commitlog.Owner{Replica: "r", Name: "n"}, commitlog.Owner{Replica: "r", Name: "m"}, true},
		{commitlog.Owner{Replica: "r", Name: "n"}, commitlog.Owner{Replica: "s", Name: "n"}, false},
		{commitlog.Owner{Name: "n"}, commitlog.Owner{Replica: "s", Name: "n"}, true},
		{commitlog.Owner{Name: "n"}, commitlog.Owner{Name: "m"}, false},
	} {
		if got := isSameOwner(tt.a, tt.b); got != tt.want {
			t.Errorf("%v and %v: %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}
