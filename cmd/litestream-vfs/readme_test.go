package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadme runs the session in docs/extension.md on the S3 server. The text
// after each prompt in that page must be what the shell prints.
func TestReadme(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "extension.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(page), "```console\n$ export AWS")
	text, _, ended := strings.Cut(text, "```")
	if !found || !ended {
		t.Fatal("no session")
	}
	url, env := s3URL(t, []string{"LITESTREAM_WRITE_ENABLED=true", "LITESTREAM_HYDRATION_ENABLED=true"})
	if !strings.Contains(text, "LITESTREAM_REPLICA_URL=s3://") || !strings.Contains(text, env[0]) || !strings.Contains(text, env[1]) {
		t.Fatal("another environment")
	}
	s := newSession(t, append(env, replicaURL+url))
	for _, step := range strings.Split(text, "sqlite> ")[1:] {
		line, want, _ := strings.Cut(step, "\n")
		want = strings.TrimSpace(want)
		switch {
		case strings.HasPrefix(line, ".load "):
		case strings.Contains(line, "hydration"):
			s.until(want, line)
		default:
			if got := s.run(line); got != want {
				t.Fatalf("%s: %q, want %q", line, got, want)
			}
		}
	}
}

// BenchmarkLoad compares a shell that loads the extension with one that does not.
func BenchmarkLoad(b *testing.B) {
	so, program := extension(b), client(b, "LITESTREAM_TEST_SQLITE3")
	for name, line := range map[string]string{"with": ".load " + so, "without": ".print"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				cmd := command(b, nil, program, "-batch", "-init", os.DevNull)
				cmd.Stdin = strings.NewReader(line + "\n")
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
			}
		})
	}
}
