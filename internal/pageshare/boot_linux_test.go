package pageshare

import (
	"encoding/hex"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// bootVariable makes the test binary print the ID of the boot.
const bootVariable = "LITESTREAM_PRINT_BOOT"

func TestMain(m *testing.M) {
	if os.Getenv(bootVariable) != "" {
		id, err := bootID()
		if err != nil {
			os.Exit(1)
		}
		_, _ = os.Stdout.WriteString(hex.EncodeToString(id[:]))
		return
	}
	os.Exit(m.Run())
}

// A process of another time namespace, such as a container can have, has another
// clock. So it takes a table for one of another boot.
func TestBootID_Clock(t *testing.T) {
	boot := func(prefix ...string) string {
		args := append(prefix, os.Args[0])
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), bootVariable+"=1")
		out, err := cmd.Output()
		if err != nil && len(prefix) > 0 {
			t.Skipf("%s: %v", strings.Join(prefix, " "), err) // it takes the tool, and root
		}
		if err != nil || len(out) != 32 {
			t.Fatalf("%q, %v", out, err)
		}
		return string(out)
	}
	here := boot()
	if again := boot(); again != here {
		t.Errorf("%s, and then %s", here, again)
	}
	if id := boot("unshare", "--pid", "--fork"); id != here {
		t.Errorf("with other numbers of processes, it is another boot: %s and %s", here, id)
	}
	if id := boot("unshare", "--time", "--monotonic", "86400", "--fork"); id == here {
		t.Errorf("a process with another clock is of the same boot %s", id)
	}
}

func TestParseBootID(t *testing.T) {
	want := [16]byte{0x6f, 0x1c, 15: 0x2a}
	if id, err := parseBootID("6f1c0000-0000-0000-0000-00000000002a\n"); err != nil || id != want {
		t.Errorf("%x, %v", id, err)
	}
	for _, text := range []string{"", "6f1c", "6f1c0000-0000-0000-0000-00000000002a00", "6f1c0000-0000-0000-0000-00000000002x"} {
		if id, err := parseBootID(text); err == nil {
			t.Errorf("%q is %x", text, id)
		}
	}
}
