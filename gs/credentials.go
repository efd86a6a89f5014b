package gs

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"cloud.google.com/go/compute/metadata"
	"cloud.google.com/go/storage"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const (
	credentialsEnv = "GOOGLE_APPLICATION_CREDENTIALS"

	cloudPlatformScope = "https://www.googleapis.com/auth/cloud-platform"

	// probeTimeout limits the search for a metadata server, which answers at
	// once if it exists.
	probeTimeout = 8 * time.Second
)

// findCredentials finds application default credentials, in Google's order, and
// names their source. Credentials from files request tokens over base.
func findCredentials(ctx context.Context, base http.RoundTripper) (*tokenSource, error) {
	opts := &credentials.DetectOptions{
		Scopes: []string{storage.ScopeFullControl, cloudPlatformScope}, // the scopes of upstream
		Client: &http.Client{Transport: clientio.Limited(base), CheckRedirect: noRedirect},
		// The logger of the library logs tokens if an environment variable asks
		// for that.
		Logger: slog.New(slog.DiscardHandler),
	}
	if name := os.Getenv(credentialsEnv); name != "" {
		return newTokenSource("credentials from "+credentialsEnv, func() (*auth.Credentials, error) { return loadFile(name, opts) })
	}
	if name := gcloudFile(); name != "" {
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			return newTokenSource("credentials from gcloud", func() (*auth.Credentials, error) { return loadFile(name, opts) })
		}
	}
	if onGoogleCloud(ctx) {
		return newTokenSource("credentials from the metadata server", func() (*auth.Credentials, error) { return metadataCredentials(opts.Scopes), nil })
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, denied("no credentials: %s is not set, gcloud auth application-default login was not run, and there is no metadata server", credentialsEnv)
}

// gcloudFile returns the path at which gcloud auth application-default login
// stores credentials, or "".
func gcloudFile() string {
	const name = "application_default_credentials.json"
	if runtime.GOOS == "windows" {
		return filepath.Join(os.Getenv("APPDATA"), "gcloud", name)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".config", "gcloud", name)
}

// loadFile reads a credentials file. Errors do not show its content.
func loadFile(name string, opts *credentials.DetectOptions) (*auth.Credentials, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, denied("read credentials file: %v", err) // without fs.ErrNotExist, which means a missing LTX file
	}
	var file struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, denied("credentials file is not valid json")
	}
	creds, err := credentials.NewCredentialsFromJSON(credentials.CredType(file.Type), b, opts)
	if err != nil {
		return nil, denied("credentials file of type %.40q is incomplete or not supported", file.Type)
	}
	return creds, nil
}

// onGoogleCloud reports whether there is a metadata server. The function of the
// library remembers its result even if its context was done.
func onGoogleCloud(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	tr := clientio.NewTransport(nil)
	tr.Proxy = nil
	defer tr.CloseIdleConnections()
	found := make(chan bool, 1)
	go func() {
		found <- metadata.NewClient(&http.Client{Transport: tr, Timeout: probeTimeout}).OnGCEWithContext(ctx)
	}()
	select {
	case ok := <-found:
		return ok
	case <-ctx.Done():
		return false
	}
}

// noRedirect keeps a request and its credentials from being sent to another
// address.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
