package task

import (
	"testing"
	"time"
)

func TestTransferTime(t *testing.T) {
	for _, tt := range []struct {
		d     time.Duration
		bytes int64
		want  time.Duration
	}{
		{time.Minute, 0, time.Minute},
		{time.Minute, 1<<20 - 1, time.Minute},
		{time.Minute, 10 << 20, time.Minute + 10*time.Second},
		{time.Minute, 1 << 48, time.Minute + 1<<28*time.Second},
		{0, 1 << 20, time.Second},
		{-1, 1 << 40, -1},
	} {
		if got := TransferTime(tt.d, tt.bytes); got != tt.want {
			t.Errorf("TransferTime(%v, %d) = %v, want %v", tt.d, tt.bytes, got, tt.want)
		}
	}
}
