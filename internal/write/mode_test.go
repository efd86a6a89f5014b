package write

import "testing"

// TestWriteMode says which mode follows which.
func TestWriteMode(t *testing.T) {
	type next struct{ stopping, resumed, closing, ended, lost queueMode }
	for mode, want := range map[queueMode]next{
		modeOff:      {modeOff, modeOff, modeClosed, modeOff, modeLost},
		modeOn:       {modeStopping, modeOn, modeClosing, modeOff, modeLost},
		modeStopping: {modeStopping, modeOn, modeClosing, modeOff, modeLost},
		modeLost:     {modeLost, modeLost, modeClosed, modeLost, modeLost},
		modeClosing:  {modeClosing, modeClosing, modeClosing, modeClosed, modeClosed},
		modeClosed:   {modeClosed, modeClosed, modeClosed, modeClosed, modeClosed},
	} {
		if got := (next{mode.stopping(), mode.resumed(), mode.closing(), mode.ended(), mode.lost()}); got != want {
			t.Errorf("after %s: %v, want %v", mode, got, want)
		}
		for _, m := range []queueMode{mode.ended(), mode.lost()} {
			if m.hasBuffer() {
				t.Errorf("after %s without a buffer: %s", mode, m)
			}
		}
	}
}
