package litestream

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// placedClient is a client of a replica that has an identity.
type placedClient struct {
	*downClient
	identity string
}

func (c placedClient) ReplicaIdentity() string { return c.identity }

// TestOffline_OtherReplica opens the copy of one replica as that of another one, whose
// transactions have the same numbers, while storage is silent. The copy is not shown. An
// open with storage makes it a copy of that replica.
func TestOffline_OtherReplica(t *testing.T) {
	for name, tc := range map[string]struct{ copied, opened, want string }{
		"the same":       {copied: "s3://one/app.db", opened: "s3://one/app.db"},
		"both unknown":   {},
		"another":        {copied: "s3://one/app.db", opened: "s3://two/app.db", want: "it is a copy of s3://one/app.db, and the replica is s3://two/app.db"},
		"opened unknown": {copied: "s3://one/app.db", want: "it is a copy of s3://one/app.db, and nothing tells that this is the replica"},
		"copied unknown": {opened: "s3://two/app.db", want: "does not say of which replica it is a copy"},
	} {
		t.Run(name, func(t *testing.T) {
			client := newDownClient()
			p := rowsPrimary(t, client.hookClient)
			path := filepath.Join(t.TempDir(), "local.db")
			keepCopy(t, placedClient{client, tc.copied}, path)
			client.set(hangs)
			opened := placedClient{client, tc.opened}
			open := func(ctx context.Context) (*database, error) {
				opts := Options{HydrationEnabled: true, HydrationPath: path, PollInterval: -1, OfflineAfter: offlineSoon}
				return openAlone(ctx, "app.db", opened, opts.withDefaults(), nil)
			}
			if tc.want != "" {
				ctx, cancel := context.WithTimeout(t.Context(), 5*offlineSoon)
				defer cancel()
				if _, err := open(ctx); err == nil || !strings.Contains(err.Error(), tc.want) || !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("got %v, want %q", err, tc.want)
				}
				client.set(nil)
				keepCopy(t, opened, path)
				client.set(hangs)
			}
			db, err := open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer closeDB(t, db)
			if !db.stats().Offline {
				t.Error("it is not offline")
			}
			wantDatabase(t, p, db)
		})
	}
}
