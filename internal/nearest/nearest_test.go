package nearest

import "testing"

func TestOf(t *testing.T) {
	names := []string{"cache_size", "read_ahead_size", "write_enabled", "hydration_enabled", "hydration_path", "mode", "vfs"}
	for _, tt := range []struct{ name, want string }{
		{"cache_sise", "cache_size"},
		{"cachesize", "cache_size"},
		{"write_enable", "write_enabled"},
		{"hydraton_enabled", "hydration_enabled"},
		{"mdoe", "mode"},
		{"", ""},
		{"region", ""},
		{"LITESTREAM", ""},
	} {
		if got := Of(tt.name, names); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("%q to %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := distance(tt.b, tt.a); got != tt.want {
			t.Errorf("%q to %q: %d, want %d", tt.b, tt.a, got, tt.want)
		}
	}
}
