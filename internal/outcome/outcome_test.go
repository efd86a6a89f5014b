package outcome

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestRecord notes attempts, a second apart.
func TestRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Record
		if l := r.Last(); l != (Last{}) || l.IsFailing() {
			t.Errorf("without attempts: %+v", l)
		}
		first, second := errors.New("first"), errors.New("second")
		start := time.Now()
		at := func(n int) time.Time { return start.Add(time.Duration(n) * time.Second).UTC() }
		for i, step := range []struct {
			err     error
			changed bool
			want    Last
		}{
			{nil, false, Last{Success: at(0), Successes: 1}},
			{first, true, Last{Success: at(0), Failure: at(1), Err: first, Since: at(1), Successes: 1, Failures: 1}},
			{second, false, Last{Success: at(0), Failure: at(2), Err: second, Since: at(1), Successes: 1, Failures: 2}},
			{nil, true, Last{Success: at(3), Failure: at(2), Err: second, Successes: 2, Failures: 2}},
			{nil, false, Last{Success: at(4), Failure: at(2), Err: second, Successes: 3, Failures: 2}},
			{first, true, Last{Success: at(4), Failure: at(5), Err: first, Since: at(5), Successes: 3, Failures: 3}},
		} {
			if changed := r.Note(step.err); changed != step.changed {
				t.Errorf("attempt %d: changed is %v", i, changed)
			}
			if l := r.Last(); l != step.want || l.IsFailing() != (step.err != nil) {
				t.Errorf("attempt %d: %+v, want %+v", i, l, step.want)
			}
			time.Sleep(time.Second)
		}
	})
}
