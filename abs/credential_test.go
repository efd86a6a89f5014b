package abs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/abs"
)

// clearEnv has a test find no credential in its environment.
func clearEnv(t *testing.T) {
	for _, name := range []string{"LITESTREAM_AZURE_ACCOUNT_KEY", "LITESTREAM_AZURE_SAS_TOKEN", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"} {
		t.Setenv(name, "")
	}
	t.Setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential") // the only credential of the chain that sends no request
}

func TestCredentials(t *testing.T) {
	const key, sasToken = "c2VjcmV0", "sv=1&se=2030-01-01&sig=secret"
	for _, tt := range []struct {
		name   string
		env    map[string]string
		fields func(*abs.ReplicaClient)
		auth   string // of the request: "SharedKey", "SAS" or "Bearer"
		source string // in the error
		status int    // of the answer; 0: there is no request
	}{
		{"key", nil, func(c *abs.ReplicaClient) { c.AccountKey = key }, "SharedKey", "account key of the field AccountKey", 403},
		{"sas", nil, func(c *abs.ReplicaClient) { c.SASToken = sasToken }, "SAS", "shared access signature of the field SASToken", 403},
		{"sas before key", nil, func(c *abs.ReplicaClient) { c.SASToken, c.AccountKey = "?"+sasToken, key }, "SAS", "field SASToken", 403},
		{"key of the environment", map[string]string{"LITESTREAM_AZURE_ACCOUNT_KEY": key + "\n"}, nil, "SharedKey", "account key from LITESTREAM_AZURE_ACCOUNT_KEY", 403},
		{"sas of the environment", map[string]string{"LITESTREAM_AZURE_SAS_TOKEN": sasToken}, nil, "SAS", "shared access signature from LITESTREAM_AZURE_SAS_TOKEN", 403},
		{"both of the environment", map[string]string{"LITESTREAM_AZURE_SAS_TOKEN": sasToken, "LITESTREAM_AZURE_ACCOUNT_KEY": key}, nil, "SAS", "LITESTREAM_AZURE_SAS_TOKEN", 403},
		{"field before environment", map[string]string{"LITESTREAM_AZURE_SAS_TOKEN": sasToken}, func(c *abs.ReplicaClient) { c.AccountKey = key }, "SharedKey", "field AccountKey", 403},
		{"token", map[string]string{"LITESTREAM_AZURE_SAS_TOKEN": sasToken}, func(c *abs.ReplicaClient) { c.Credential = &tokens{} }, "Bearer", "token of the field Credential", 401},
		{"nothing", nil, nil, "", "token of the Azure default credential chain: no credential available", 0},
		{"key without account", nil, func(c *abs.ReplicaClient) { c.AccountKey, c.AccountName = key, "" }, "", "account key of the field AccountKey: no storage account", 0},
		{"malformed key", nil, func(c *abs.ReplicaClient) { c.AccountKey = "secret!" }, "", "is not base64", 0},
		{"malformed sas", nil, func(c *abs.ReplicaClient) { c.SASToken = "secret" }, "", "field SASToken is not a query string", 0},
		{"unknown chain", map[string]string{"AZURE_TOKEN_CREDENTIALS": "secret"}, nil, "", "AZURE_TOKEN_CREDENTIALS", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clearEnv(t)
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			requests := 0
			c := abs.NewReplicaClient()
			c.AccountName, c.Bucket, c.Endpoint = "myaccount", "bucket", "https://store.invalid/"
			c.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
				requests++
				auth, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
				if r.URL.Query().Get("sig") == "secret" {
					auth += "SAS"
				}
				if auth != tt.auth {
					t.Errorf("the request has %q, want %s", auth, tt.auth)
				}
				return answer(tt.status, "AuthenticationFailed", "application/xml", "secret"), nil
			})
			if tt.fields != nil {
				tt.fields(c)
			}
			_, err := listAll(t.Context(), c, 0)
			if err == nil || !permanent(err) || !strings.Contains(err.Error(), tt.source) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), key) {
				t.Errorf("got error %v, want a permanent one with %q", err, tt.source)
			}
			if tt.status != 0 && !errors.Is(err, fs.ErrPermission) || (requests == 0) != (tt.status == 0) {
				t.Errorf("%d requests, error %v", requests, err)
			}
		})
	}
}

// tokens gives a new token each time, that lives as long as it says.
type tokens struct {
	life  time.Duration
	err   error
	block bool

	mu     sync.Mutex
	n      int // guarded by mu
	scopes []string
}

func (s *tokens) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if s.block {
		<-ctx.Done()
		return azcore.AccessToken{}, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	s.scopes = options.Scopes
	return azcore.AccessToken{Token: fmt.Sprintf("secret-%d", s.n), ExpiresOn: time.Now().Add(s.life)}, s.err
}

// tlsServer returns a client of a server with a certificate of its own.
func tlsServer(t *testing.T, cred azcore.TokenCredential, handler http.HandlerFunc) *abs.ReplicaClient {
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	c := abs.NewReplicaClient()
	c.Endpoint, c.Bucket, c.Credential = server.URL, "bucket", cred
	c.Transport = server.Client().Transport
	return c
}

func TestCredential_Refresh(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	handler := func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.Header.Get("Authorization"))
		refuse(w, 404, "BlobNotFound")
	}
	for _, tt := range []struct {
		life time.Duration
		want string
	}{
		{-time.Minute, "Bearer secret-1, Bearer secret-2, Bearer secret-3"},
		{time.Hour, "Bearer secret-1, Bearer secret-1, Bearer secret-1"},
	} {
		seen = nil
		source := &tokens{life: tt.life}
		c := tlsServer(t, source, handler)
		for range 3 {
			if _, err := readAll(t.Context(), c, 1, 0, 0); !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
		if got := strings.Join(seen, ", "); got != tt.want {
			t.Errorf("requests have %s, want %s", got, tt.want)
		}
		if got := strings.Join(source.scopes, " "); got != "https://storage.azure.com/.default" {
			t.Errorf("a token for %s", got)
		}
	}

	// Refused: what the service says of it, and another one for the next request.
	source := &tokens{life: time.Hour}
	requests := 0
	c := tlsServer(t, source, func(w http.ResponseWriter, r *http.Request) {
		if requests++; requests == 1 {
			refuse(w, 401, "InvalidAuthenticationInfo")
			return
		}
		handler(w, r)
	})
	if _, err := readAll(t.Context(), c, 1, 0, 0); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "token of the field Credential: it is malformed or expired") {
		t.Errorf("got error %v", err)
	}
	if _, err := readAll(t.Context(), c, 1, 0, 0); !errors.Is(err, fs.ErrNotExist) || source.n != 2 {
		t.Errorf("%d tokens, error %v", source.n, err)
	}
}

// The parts of a batch have tokens as well.
func TestCredential_Batch(t *testing.T) {
	source := &tokens{life: time.Hour}
	var batch string
	c := tlsServer(t, source, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		batch = string(body)
		w.Header().Set("Content-Type", "multipart/mixed; boundary=b")
		w.Header().Set("X-Ms-Request-Id", "request-1")
		w.WriteHeader(http.StatusAccepted)
		for i := range 2 {
			fmt.Fprintf(w, "--b\r\nContent-Type: application/http\r\nContent-ID: %d\r\n\r\nHTTP/1.1 202 Accepted\r\n\r\n", i)
		}
		_, _ = io.WriteString(w, "--b--\r\n")
	})
	infos := []*ltx.FileInfo{{MinTXID: 1, MaxTXID: 1}, {MinTXID: 2, MaxTXID: 2}}
	if err := c.DeleteLTXFiles(t.Context(), infos); err != nil {
		t.Fatal(err)
	}
	if strings.Count(batch, "DELETE /bucket/ltx") != 2 || strings.Count(batch, "Authorization: Bearer secret-") != 2 {
		t.Errorf("the batch is %s", batch)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if err := c.DeleteLTXFiles(ctx, infos); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v", err)
	}
}

// Sources that give no token.
func TestCredential_Errors(t *testing.T) {
	failed := func(status int, body string) error {
		request, _ := http.NewRequest(http.MethodPost, "https://login/?client_secret=secret", nil)
		resp := answer(status, "", "application/json", body)
		resp.Request = request
		return &azidentity.AuthenticationFailedError{RawResponse: resp}
	}
	for _, tt := range []struct {
		name      string
		err       error
		permanent bool
		want      string
	}{
		{"no credential", azidentity.NewCredentialUnavailableError("secret"), true, "no credential available"},
		{"wrong", failed(401, `{"error_description":"AADSTS7000215: secret"}`), true, "AADSTS7000215"},
		{"invalid", failed(400, `{"error_description":"secret"}`), true, "http status 400"},
		{"busy", failed(503, "secret"), false, "http status 503"},
		{"no network", &url.Error{Op: "Post", URL: "https://login/?secret", Err: errors.New("connection refused")}, false, "connection refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			requests := 0
			c := tlsServer(t, &tokens{err: tt.err}, func(http.ResponseWriter, *http.Request) { requests++ })
			for name, call := range methods(t) {
				err := call(t.Context(), c)
				if err == nil || permanent(err) != tt.permanent || !strings.Contains(err.Error(), tt.want) ||
					!strings.Contains(err.Error(), "token of the field Credential") || strings.Contains(err.Error(), "secret") {
					t.Errorf("%s: got error %v, want one with %q, permanent %v", name, err, tt.want, tt.permanent)
				}
			}
			if requests > 0 {
				t.Errorf("%d requests without a token", requests)
			}
		})
	}
	t.Run("hangs", func(t *testing.T) {
		c := tlsServer(t, &tokens{block: true}, func(http.ResponseWriter, *http.Request) {})
		for name, call := range methods(t) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			if err := call(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: got error %v", name, err)
			}
			cancel()
		}
	})
	t.Run("plain http", func(t *testing.T) {
		c := fake(t, func(http.ResponseWriter, *http.Request) { t.Error("a request") })
		c.Credential = &tokens{}
		if err := c.Init(t.Context()); !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), "https") {
			t.Errorf("got error %v", err)
		}
	})
}
