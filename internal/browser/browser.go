// Package browser runs headless Chromium in a test, from Debian's package
// chromium-headless-shell.
//
//	b := browser.Start(t)
//	tab := b.Open(t, url, browser.View{Width: 1200, Height: 900})
//	tab.Await(t, "the title", `document.title === "Databases"`)
//
// It speaks the browser's DevTools protocol over two pipes: JSON messages, each with a
// zero byte at its end.
package browser

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// programs are the names under which Chromium is installed, the smallest one first.
var programs = []string{"chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"}

// limit is how long an answer of the browser, or a condition, may take on a busy
// machine.
const limit = 30 * time.Second

// Browser is a running browser. It is safe for concurrent use.
type Browser struct {
	to io.WriteCloser

	mu struct {
		sync.Mutex // duty: what is under way; also keeps messages to the browser apart
		next       int
		answers    map[int]chan answer
		tabs       map[string]*Tab // by session
		err        error           // why no answer comes any more
	}
}

type answer struct {
	Result json.RawMessage
	Error  *struct{ Message string }
}

// Start starts a browser, which ends with the test. It skips the test if there is none,
// or fails if LITESTREAM_TEST_ALL is set.
func Start(t testing.TB) *Browser {
	t.Helper()
	program := ""
	for _, name := range programs {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		if os.Getenv("LITESTREAM_TEST_ALL") != "" {
			t.Fatal("there is no Chromium: install Debian's package chromium-headless-shell")
		}
		t.Skip("there is no Chromium: install Debian's package chromium-headless-shell")
	}
	toRead, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, fromWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(program, "--headless", "--remote-debugging-pipe", "--user-data-dir="+dir, "--no-first-run", "--no-sandbox", "--disable-gpu",
		"--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
		"--hide-scrollbars", "--force-color-profile=srgb", "--font-render-hinting=none", "about:blank")
	cmd.ExtraFiles = []*os.File{toRead, fromWrite} // numbers 3 and 4
	cmd.Env = append(os.Environ(), "HOME="+dir, "TZ=UTC", "LANG=C.UTF-8")
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = toRead.Close(), fromWrite.Close()
	b := &Browser{to: to}
	b.mu.answers, b.mu.tabs = make(map[int]chan answer), make(map[string]*Tab)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.fail(b.read(from))
	}()
	t.Cleanup(func() {
		_ = b.call("", "Browser.close", nil, nil)
		_ = to.Close()
		select {
		case <-ended:
		case <-time.After(limit):
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = from.Close()
		<-ended
		if t.Failed() && log.Len() > 0 {
			t.Logf("%s printed:\n%s", program, log.String())
		}
	})
	return b
}

// message is what the browser sends: an answer, or an event.
type message struct {
	ID        int
	SessionID string
	Method    string
	Params    json.RawMessage
	answer
}

// read reads messages until the browser ends.
func (b *Browser) read(from io.Reader) error {
	r := bufio.NewReader(from)
	for {
		text, err := r.ReadBytes(0)
		if err != nil {
			return fmt.Errorf("read from the browser: %w", err)
		}
		var m message
		if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
			return fmt.Errorf("read from the browser: %w", err)
		}
		b.mu.Lock()
		if c := b.mu.answers[m.ID]; c != nil {
			delete(b.mu.answers, m.ID)
			c <- m.answer // has room
		} else if tab := b.mu.tabs[m.SessionID]; tab != nil {
			tab.note(m.Method, m.Params)
		}
		b.mu.Unlock()
	}
}

// fail ends all calls.
func (b *Browser) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.err = err
	for _, c := range b.mu.answers {
		c <- answer{Error: &struct{ Message string }{err.Error()}}
	}
	b.mu.answers = nil
}

// call calls a method of the browser or of a tab, and waits for the result.
func (b *Browser) call(session, method string, params, result any) error {
	c := make(chan answer, 1)
	if err := b.send(session, method, params, c); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case a := <-c:
		if a.Error != nil {
			return fmt.Errorf("%s: %s", method, a.Error.Message)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(a.Result, result)
	case <-timer.C:
		return fmt.Errorf("%s: no answer", method)
	}
}

func (b *Browser) send(session, method string, params any, c chan answer) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.err != nil {
		return b.mu.err
	}
	b.mu.next++
	text, err := json.Marshal(struct {
		ID        int    `json:"id"`
		SessionID string `json:"sessionId,omitempty"`
		Method    string `json:"method"`
		Params    any    `json:"params,omitempty"`
	}{b.mu.next, session, method, params})
	if err != nil {
		return err
	}
	b.mu.answers[b.mu.next] = c
	_, err = b.to.Write(append(text, 0))
	return err
}

// View is how a page is shown.
type View struct {
	Width, Height int
	Dark          bool
	Phone         bool   // a touch screen with the width of the device
	Before        string // a program that runs before those of the page
}

// Tab is a page that a browser shows. It has cookies and a cache of its own. It is safe
// for concurrent use.
type Tab struct {
	browser *Browser
	session string

	// Guarded by Browser.mu.
	requests []string // URLs that were asked for
	problems []string // errors of programs, and what the policy of the page forbids
}

// Open opens a URL in a new tab, which closes with the test.
func (b *Browser) Open(t testing.TB, url string, v View) *Tab {
	t.Helper()
	tab := &Tab{browser: b}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	type object = map[string]any
	var context struct{ BrowserContextID string }
	must(b.call("", "Target.createBrowserContext", nil, &context))
	t.Cleanup(func() {
		_ = b.call("", "Target.disposeBrowserContext", object{"browserContextId": context.BrowserContextID}, nil)
	})
	var target struct{ TargetID string }
	must(b.call("", "Target.createTarget", object{"url": "about:blank", "browserContextId": context.BrowserContextID}, &target))
	var attached struct{ SessionID string }
	must(b.call("", "Target.attachToTarget", object{"targetId": target.TargetID, "flatten": true}, &attached))
	tab.session = attached.SessionID
	b.mu.Lock()
	b.mu.tabs[tab.session] = tab
	b.mu.Unlock()
	scheme := "light"
	if v.Dark {
		scheme = "dark"
	}
	for _, c := range []struct {
		method string
		params any
	}{
		{"Page.enable", nil}, {"Runtime.enable", nil}, {"Log.enable", nil}, {"Network.enable", nil},
		{"Page.addScriptToEvaluateOnNewDocument", object{"source": v.Before}},
		{"Emulation.setDeviceMetricsOverride", object{"width": v.Width, "height": v.Height, "deviceScaleFactor": 1, "mobile": v.Phone}},
		{"Emulation.setEmulatedMedia", object{"features": []object{{"name": "prefers-color-scheme", "value": scheme}}}},
		{"Page.navigate", object{"url": url}},
	} {
		must(b.call(tab.session, c.method, c.params, nil))
	}
	return tab
}

// note records an event. The caller holds Browser.mu.
func (tab *Tab) note(method string, params json.RawMessage) {
	var p struct {
		Request          struct{ URL string }
		Entry            struct{ Level, Text, URL string }
		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	_ = json.Unmarshal(params, &p) // events that are not noted have other fields
	switch method {
	case "Network.requestWillBeSent":
		tab.requests = append(tab.requests, p.Request.URL)
	case "Runtime.exceptionThrown":
		tab.problems = append(tab.problems, p.ExceptionDetails.Text+" "+p.ExceptionDetails.Exception.Description)
	case "Log.entryAdded":
		if p.Entry.Level == "error" {
			tab.problems = append(tab.problems, p.Entry.Text+" "+p.Entry.URL)
		}
	}
}

// Requests returns the URLs that the tab has asked for.
func (tab *Tab) Requests() []string {
	tab.browser.mu.Lock()
	defer tab.browser.mu.Unlock()
	return slices.Clone(tab.requests)
}

// Problems returns errors of the program of the page, and what its policy forbids.
func (tab *Tab) Problems() []string {
	tab.browser.mu.Lock()
	defer tab.browser.mu.Unlock()
	return slices.Clone(tab.problems)
}

// Eval evaluates an expression of JavaScript, which may be a promise, and stores its
// value as JSON does.
func (tab *Tab) Eval(expression string, value any) error {
	var result struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	err := tab.browser.call(tab.session, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &result)
	if err != nil {
		return err
	}
	if e := result.ExceptionDetails; e != nil {
		return fmt.Errorf("%s: %s %s", expression, e.Text, e.Exception.Description)
	}
	if value == nil {
		return nil
	}
	if result.Result.Value == nil {
		return errors.New(expression + " is undefined")
	}
	return json.Unmarshal(result.Result.Value, value)
}

// Text returns the text of the page as a person sees it.
func (tab *Tab) Text(t testing.TB) string {
	t.Helper()
	var text string
	if err := tab.Eval("document.body.innerText", &text); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(text, "\u00a0", " ")
}

// Await waits until an expression is true.
func (tab *Tab) Await(t testing.TB, what, expression string) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		is := false
		if err = tab.Eval("Boolean("+expression+")", &is); err == nil && is {
			return
		}
	}
	t.Fatalf("waited for %s: %v; problems %q; the page says:\n%s", what, err, tab.Problems(), tab.Text(t))
}

// Screenshot returns a picture of the upper left part of the page, a PNG. The part may
// be larger than the screen.
func (tab *Tab) Screenshot(t testing.TB, width, height int) []byte {
	t.Helper()
	var shot struct{ Data string }
	clip := map[string]any{"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
	err := tab.browser.call(tab.session, "Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true, "clip": clip}, &shot)
	if err != nil {
		t.Fatal(err)
	}
	b, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
