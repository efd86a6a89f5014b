package gs_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// google is a service with a token endpoint. What it lists is nothing.
type google struct {
	*server
	tokens   atomic.Int64                                 // given
	accepted atomic.Pointer[string]                       // the one token that is; nil: any
	expires  atomic.Int64                                 // seconds that tokens last; 0: for ever
	token    func(http.ResponseWriter, *http.Request)     // nil: give one
	seen     func(authorization, quotaProject string)     // nil: do not look
	api      func(w http.ResponseWriter, r *http.Request) // nil: list nothing
}

func newGoogle(t *testing.T) *google {
	g := &google{}
	g.server = newTLSServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			g.serveToken(w, r)
			return
		}
		authorization := r.Header.Get("Authorization")
		if g.seen != nil {
			g.seen(authorization, r.Header.Get("X-Goog-User-Project"))
		}
		if want := g.accepted.Load(); want != nil && authorization != "Bearer "+*want {
			refuse(w, 401, "authError", "Invalid Credentials")
			return
		}
		if g.api != nil {
			g.api(w, r)
			return
		}
		reply(w, 200, listing)
	})
	return g
}

func (g *google) serveToken(w http.ResponseWriter, r *http.Request) {
	if g.token != nil {
		g.token(w, r)
		return
	}
	if err := r.ParseForm(); err != nil || strings.Count(r.Form.Get("assertion"), ".") != 2 {
		reply(w, 400, map[string]string{"error": "invalid_grant"})
		return
	}
	answer := map[string]any{"access_token": tokenName(g.tokens.Add(1)), "token_type": "Bearer"}
	if s := g.expires.Load(); s > 0 {
		answer["expires_in"] = s
	}
	reply(w, 200, answer)
}

func tokenName(n int64) string { return fmt.Sprintf("ya29.secrettoken%d", n) }

func TestCredentials_Token(t *testing.T) {
	g := newGoogle(t)
	setCredentials(t, g.URL+"/token")
	t.Setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "payer")
	var mu sync.Mutex
	seen := map[string]int{}
	g.seen = func(authorization, quotaProject string) {
		mu.Lock()
		defer mu.Unlock()
		seen[authorization+" "+quotaProject]++
	}
	c := g.client(t)
	if err := c.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	if asked := g.asked(); len(asked) > 0 {
		t.Errorf("Init makes requests: %q", asked)
	}
	// Many at once wait for one token.
	var group errgroup.Group
	for range 16 {
		group.Go(func() error {
			_, err := list(t.Context(), c)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := seen["Bearer "+tokenName(1)+" payer"]; n != 16 || g.tokens.Load() != 1 {
		t.Errorf("%d tokens were given, seen were %v", g.tokens.Load(), seen)
	}
}

// A token that is about to expire is replaced, meanwhile it is used.
func TestCredentials_Refresh(t *testing.T) {
	g := newGoogle(t)
	setCredentials(t, g.URL+"/token")
	g.expires.Store(100)
	latest := make(chan string, 1000)
	g.seen = func(authorization, _ string) { latest <- authorization }
	c := g.client(t)
	for deadline := time.Now().Add(time.Minute); ; {
		if _, err := list(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if got := <-latest; got == "Bearer "+tokenName(2) {
			break
		} else if got != "Bearer "+tokenName(1) || time.Now().After(deadline) {
			t.Fatalf("got %s", got)
		}
		g.expires.Store(3600) // of those from now on
	}
	for range 5 {
		if _, err := list(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if n := g.tokens.Load(); n != 2 {
		t.Errorf("%d tokens, want 2", n)
	}
}

// A token that is not accepted, whatever the clock says, is not used again,
// and credentials that have been renewed are taken.
func TestCredentials_Rejected(t *testing.T) {
	g := newGoogle(t)
	setCredentials(t, g.URL+"/token")
	second := tokenName(2)
	g.accepted.Store(&second)
	c := g.client(t)
	_, err := list(t.Context(), c)
	wantError(t, err, "denied", "GOOGLE_APPLICATION_CREDENTIALS", "expired", "Invalid Credentials")
	if _, err := list(t.Context(), c); err != nil {
		t.Error(err)
	}
}

func TestCredentials_Refused(t *testing.T) {
	answer := func(status int, body any) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { reply(w, status, body) }
	}
	for _, tt := range []struct {
		name  string
		token func(http.ResponseWriter, *http.Request)
		class string
		text  []string
	}{
		{"key", answer(400, map[string]string{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}),
			"denied", []string{"credentials from GOOGLE_APPLICATION_CREDENTIALS", "invalid_grant: Invalid JWT Signature."}},
		{"clock", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", time.Now().Add(3*time.Hour).UTC().Format(http.TimeFormat))
			reply(w, 400, map[string]string{"error": "invalid_grant", "error_description": "Invalid JWT."})
		}, "denied", []string{"clock of this host is ", "behind the server's"}},
		{"unavailable", answer(503, nil), "transient", []string{"status 503"}},
		{"no endpoint", answer(404, nil), "permanent", []string{"status 404"}},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.invalid/", http.StatusFound)
		},
			"permanent", []string{"status 302"}},
		{"not json", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "transient", []string{"get access token"}},
		{"reset", func(w http.ResponseWriter, _ *http.Request) { reset(w) }, "transient", []string{"EOF"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGoogle(t)
			setCredentials(t, g.URL+"/token")
			g.token = tt.token
			c := g.client(t)
			for _, m := range methods {
				wantError(t, m.call(t.Context(), c, body(t, 1)), tt.class, tt.text...)
				if asked := g.asked(); len(asked) != 1 {
					t.Errorf("%s: requests %q", m.name, asked)
				}
			}
			// Once it works, so does the client.
			g.token = nil
			if _, err := list(t.Context(), c); err != nil {
				t.Errorf("after the failure: %v", err)
			}
		})
	}
}

// The service's own refusals name the source, and the clock where that is it.
func TestCredentials_Denied(t *testing.T) {
	g := newGoogle(t)
	setCredentials(t, g.URL+"/token")
	g.api = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(-2*time.Hour).UTC().Format(http.TimeFormat))
		refuse(w, 403, "forbidden", "robot@project.iam.gserviceaccount.com does not have storage.objects.list access.")
	}
	c := g.client(t)
	for _, m := range methods {
		wantError(t, m.call(t.Context(), c, body(t, 1)), "denied", "credentials from GOOGLE_APPLICATION_CREDENTIALS", "ahead of the server's", "status 403")
	}
}

// Files that are no credentials.
func TestCredentials_Files(t *testing.T) {
	for _, tt := range []struct{ name, content, text string }{
		{"missing", "", "read credentials file"},
		{"not json", "private_key: secret", "not valid json"},
		{"no type", `{"private_key":"secret"}`, "not supported"},
		{"incomplete", `{"type":"service_account","private_key":"secret"}`, "service_account"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			noCredentials(t)
			name := filepath.Join(t.TempDir(), "credentials.json")
			if tt.content != "" {
				if err := os.WriteFile(name, []byte(tt.content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", name)
			c := newGoogle(t).client(t)
			for _, m := range methods {
				err := m.call(t.Context(), c, body(t, 1))
				wantError(t, err, "denied", "credentials from GOOGLE_APPLICATION_CREDENTIALS", tt.text)
				if err != nil && strings.Contains(err.Error(), "secret") {
					t.Errorf("error has the content: %v", err)
				}
			}
		})
	}
}

// Credentials that gcloud left are found, and a failed Init is tried again.
func TestCredentials_Gcloud(t *testing.T) {
	g := newGoogle(t)
	setCredentials(t, g.URL+"/token")
	b, err := os.ReadFile(os.Getenv("GOOGLE_APPLICATION_CREDENTIALS"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	folder := filepath.Join(os.Getenv("HOME"), ".config", "gcloud")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(folder, "application_default_credentials.json")
	if err := os.WriteFile(name, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := g.client(t)
	wantError(t, c.Init(t.Context()), "denied", "credentials from gcloud")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := list(t.Context(), c); err != nil {
		t.Error(err)
	}
}

// A metadata server: its tokens, its refusal, its silence.
func TestCredentials_Metadata(t *testing.T) {
	noCredentials(t)
	mode := "token"
	asked := make(chan struct{}, 100)
	release := make(chan struct{})
	metadata := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Metadata-Flavor", "Google")
		switch mode {
		case "token":
			reply(w, 200, map[string]any{"access_token": tokenName(1), "expires_in": 3600, "token_type": "Bearer"})
		case "none":
			w.WriteHeader(404)
		case "hang":
			asked <- struct{}{}
			<-release
		}
	})
	t.Cleanup(func() { close(release) })
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(metadata.URL, "http://"))
	g := newGoogle(t)
	want := tokenName(1)
	g.accepted.Store(&want)
	if _, err := list(t.Context(), g.client(t)); err != nil {
		t.Error(err)
	}
	mode = "none"
	_, err := list(t.Context(), g.client(t))
	wantError(t, err, "denied", "credentials from the metadata server", "no service account")

	mode = "hang"
	c := g.client(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	for range 2 { // one caller asks, and one waits for it
		go func() {
			_, err := list(ctx, c)
			done <- err
		}()
	}
	<-asked
	cancel()
	for range 2 {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v, want context.Canceled", err)
		}
	}
}

// Without any credentials there is an error soon, and sooner if the context
// is done.
func TestCredentials_None(t *testing.T) {
	noCredentials(t)
	c := newGoogle(t).client(t)
	if err := c.Init(t.Context()); err == nil {
		t.Skip("this machine has a metadata server")
	} else {
		wantError(t, err, "denied", "no credentials", "GOOGLE_APPLICATION_CREDENTIALS")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Init(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want context.Canceled", err)
	}
}

// Over plain http no token is sent, nor asked for.
func TestCredentials_PlainHTTP(t *testing.T) {
	g := newGoogle(t)
	setCredentials(t, g.URL+"/token")
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("credentials over plain http")
		}
		reply(w, 200, listing)
	})
	if _, err := list(t.Context(), s.client(t)); err != nil {
		t.Error(err)
	}
	if g.tokens.Load() != 0 {
		t.Error("a token was asked for")
	}
}
