package litestream

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"

	"github.com/ltxvfs/litestream/internal/commitlog"
)

// ownerOf returns what a write buffer says of the database that it is for. A
// replica URL, empty for a client that came without one, stands in for a client
// that does not say which replica it is.
func ownerOf(client ReplicaClient, replicaURL, name string) commitlog.Owner {
	var id string
	if c, ok := client.(ReplicaIdentifier); ok {
		id = c.ReplicaIdentity()
	}
	if id == "" {
		id = identityOfURL(replicaURL)
	}
	return commitlog.Owner{Replica: shorten(id), Name: shorten(name)}
}

// identityOfURL returns a replica URL without what may be a secret, or change:
// user information and parameters.
func identityOfURL(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme == "" {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Opaque: u.Opaque, Host: strings.ToLower(u.Host), Path: u.Path}).String()
}

// shorten returns a text that fits into the header of a segment, and is as
// unique.
func shorten(s string) string {
	if len(s) <= commitlog.MaxOwnerText {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return s[:1024] + "...sha256:" + hex.EncodeToString(sum[:])
}
