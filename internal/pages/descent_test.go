package pages

import "testing"

// A link leads on from rows that it has led to only if it was learned from such
// rows.
func TestPath_Allows(t *testing.T) {
	self, other := &link{src: 1, dst: 1, times: 1}, &link{src: 1, col: 2, dst: 3, times: 1}
	var outermost path
	first := outermost.then(self)
	second := first.then(self)
	for _, c := range []struct {
		name  string
		by    path
		link  *link
		times int
		want  bool
	}{
		{"from the outermost loop", outermost, self, 1, true},
		{"from the rows that it leads to", first, self, 1, false},
		{"learned from these", first, self, 2, true},
		{"one loop further", second, self, 2, false},
		{"another link", second, other, 1, true},
	} {
		c.link.times = c.times
		if got := c.by.allows(c.link); got != c.want {
			t.Errorf("%s: allowed %v, want %v", c.name, got, c.want)
		}
	}
	self.times, self.wrong = 2, true
	if outermost.allows(self) {
		t.Error("a wrong link leads on")
	}
	deep := outermost
	for range maxLoops + 1 {
		deep = deep.then(other)
	}
	if deep.allows(&link{src: 3, dst: 4, times: 1}) {
		t.Errorf("a link leads on from %d loops", maxLoops+1)
	}
}
