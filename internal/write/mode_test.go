package write

import "testing"

// TestWriteMode says which mode follows which.
func TestWriteMode(t *testing.T) {
	type next struct{ stopping, resumed, closing, ended, losing, lost queueMode }
	for mode, want := range map[queueMode]next{
		modeOff:      {modeOff, modeOff, modeClosed, modeOff, modeLosing, modeOff},
		modeOn:       {modeStopping, modeOn, modeClosing, modeOff, modeLosing, modeOn},
		modeStopping: {modeStopping, modeOn, modeClosing, modeOff, modeLosing, modeStopping},
		modeLosing:   {modeLosing, modeLosing, modeClosed, modeLosing, modeLosing, modeLost},
		modeLost:     {modeLost, modeLost, modeClosed, modeLost, modeLosing, modeLost},
		modeClosing:  {modeClosing, modeClosing, modeClosing, modeClosed, modeClosed, modeClosing},
		modeClosed:   {modeClosed, modeClosed, modeClosed, modeClosed, modeClosed, modeClosed},
	} {
		if got := (next{mode.stopping(), mode.resumed(), mode.closing(), mode.ended(), mode.losing(), mode.lost()}); got != want {
			t.Errorf("after %s: %v, want %v", mode, got, want)
		}
		if got := mode.isOver(); got != (mode == modeClosed) {
			t.Errorf("in %s the write buffer was given up with the database: %v", mode, got)
		}
		for _, m := range []queueMode{mode.ended(), mode.losing()} {
			if m.hasBuffer() {
				t.Errorf("after %s without a buffer: %s", mode, m)
			}
		}
	}
}
