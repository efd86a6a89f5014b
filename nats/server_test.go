package nats_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
)

// natsServer is a server in a process of its own, whose configuration a test
// chooses.
type natsServer struct {
	url  string // with the port
	args []string
	cmd  *exec.Cmd
}

// startServer starts a server with a configuration until the test ends. The
// configuration is in the language of the server, and holds %[1]s for a folder that
// belongs to the server.
func startServer(t testing.TB, config string, opts ...natsgo.Option) *natsServer {
	t.Helper()
	program := os.Getenv("LITESTREAM_TEST_NATS_SERVER")
	if program == "" {
		testServer(t) // skips the test, or fails it
		t.Fatal("LITESTREAM_TEST_NATS_SERVER is not set, and LITESTREAM_TEST_NATS is")
	}
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "server.conf")
	if strings.Contains(config, "%[1]s") {
		config = fmt.Sprintf(config, dir)
	}
	config = fmt.Sprintf("listen: %q\njetstream { store_dir: %q }\n%s\n", addr, filepath.Join(dir, "store"), config)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &natsServer{url: "nats://" + addr, args: []string{program, "--config", file}}
	s.start(t, opts...)
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *natsServer) start(t testing.TB, opts ...natsgo.Option) {
	t.Helper()
	var log strings.Builder
	s.cmd = exec.Command(s.args[0], s.args[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = &log, &log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		nc, err := natsgo.Connect(s.url, opts...)
		if err == nil {
			nc.Close()
			return
		}
		if time.Now().After(deadline) {
			s.stop()
			t.Fatalf("server does not start: %v\n%s", err, log.String())
		}
	}
}

func (s *natsServer) stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended
	_ = s.cmd.Wait()         // it was killed
	s.cmd = nil
}

// recorder is a server that passes on what clients send to another one. It writes
// down what they ask for, and counts the bytes that they get.
type recorder struct {
	url    string
	before func(subject string) // if not nil, called before a message is passed on

	mu       sync.Mutex
	lines    []string // guarded by mu
	received int      // guarded by mu
}

// newRecorder starts a recorder until the test ends.
func newRecorder(t testing.TB, url string) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{url: "nats://" + l.Addr().String()}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { l.Close() })
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", strings.TrimPrefix(url, "nats://"))
			if err != nil {
				client.Close()
				continue
			}
			wg.Go(func() {
				defer client.Close()
				buf := make([]byte, 64<<10)
				for {
					n, err := server.Read(buf)
					r.mu.Lock()
					r.received += n
					r.mu.Unlock()
					if _, werr := client.Write(buf[:n]); err != nil || werr != nil {
						return
					}
				}
			})
			wg.Go(func() {
				defer server.Close()
				r.pass(client, server)
			})
		}
	})
	return r
}

// pass passes the protocol of a client on to its end. What the client asks for is
// written down before the server sees it. So it counts to the step that got the answer.
func (r *recorder) pass(from io.Reader, to io.Writer) {
	in := bufio.NewReader(from)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		message := []byte(line)
		words := strings.Fields(line)
		if len(words) > 0 && (words[0] == "PUB" || words[0] == "HPUB") {
			size, err := strconv.Atoi(words[len(words)-1])
			if err != nil {
				return
			}
			body := make([]byte, size+2) // with the end of the line
			if _, err := io.ReadFull(in, body); err != nil {
				return
			}
			r.note(words[1], body[:size])
			if r.before != nil {
				r.before(words[1])
			}
			message = append(message, body...)
		}
		if _, err := to.Write(message); err != nil {
			return
		}
	}
}

// note writes down a message that a client publishes.
func (r *recorder) note(subject string, body []byte) {
	what := subject
	switch {
	case strings.HasPrefix(subject, "$JS.API.CONSUMER.DELETE."):
		return // nothing waits for it, so it comes at any time
	case strings.Contains(subject, ".MSG.GET."), strings.HasPrefix(subject, "$JS.API.DIRECT.GET."):
		what += " " + strings.TrimSpace(string(body))
	case strings.HasPrefix(subject, "$O."):
		what += fmt.Sprintf(" %d bytes", len(body))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, strings.TrimSpace(what))
}

var (
	// These match what differs from run to run.
	bucketName   = regexp.MustCompile(`test-\d+-\d+`)
	consumerName = regexp.MustCompile(`(CONSUMER\.[A-Z.]+\.OBJ_BUCKET\.)[^ .]+`)
	chunkID      = regexp.MustCompile(`(\.C\.)[A-Za-z0-9]{22}`)

	encoded = regexp.MustCompile(`\.M\.([A-Za-z0-9_=-]+)`)
)

// take returns what was asked for since the last call, in order of text, and the
// number of bytes that came.
func (r *recorder) take() (text string, requests, received int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, line := range r.lines {
		line = bucketName.ReplaceAllString(line, "BUCKET")
		line = chunkID.ReplaceAllString(consumerName.ReplaceAllString(line, "${1}ID"), "${1}ID")
		r.lines[i] = encoded.ReplaceAllStringFunc(line, func(text string) string {
			name, err := base64.URLEncoding.DecodeString(strings.TrimPrefix(text, ".M."))
			if err != nil {
				return text
			}
			return ".M.<" + string(name) + ">"
		})
	}
	slices.Sort(r.lines)
	text, requests, received = strings.Join(r.lines, "\n"), len(r.lines), r.received
	r.lines, r.received = nil, 0
	return text + "\n", requests, received
}
