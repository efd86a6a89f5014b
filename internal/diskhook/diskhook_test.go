package diskhook

import (
	"errors"
	"slices"
	"testing"
)

func TestHook_Do(t *testing.T) {
	wrong := errors.New("wrong")
	for _, tt := range []struct {
		name   string
		fails  string // what returns an error
		events []string
	}{
		{"nothing fails", "", []string{"before: write", "write", "after: write"}},
		{"the hook fails before", "before: write", []string{"before: write"}},
		{"the operation fails", "write", []string{"before: write", "write"}},
		{"the hook fails after", "after: write", []string{"before: write", "write", "after: write"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var events []string
			note := func(event string) error {
				events = append(events, event)
				if event == tt.fails {
					return wrong
				}
				return nil
			}
			err := Hook(note).Do("write", func() error { return note("write") })
			if want := tt.fails != ""; errors.Is(err, wrong) != want {
				t.Errorf("error %v", err)
			}
			if !slices.Equal(events, tt.events) {
				t.Errorf("events %q, want %q", events, tt.events)
			}
		})
	}
}

func TestHook_Nil(t *testing.T) {
	ran := false
	if err := Hook(nil).Do("write", func() error { ran = true; return nil }); err != nil || !ran {
		t.Errorf("ran: %v, error %v", ran, err)
	}
}
