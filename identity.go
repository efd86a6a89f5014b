package litestream

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"

	"github.com/ltxvfs/litestream/internal/commitlog"
)

// ownerOf returns the owner that is recorded in a write buffer.
func ownerOf(client ReplicaClient, replicaURL, name string) commitlog.Owner {
	return commitlog.Owner{Replica: shorten(identityOf(client, replicaURL)), Name: shorten(name)}
}

// identityOf returns the identity of a client's replica. If the client does not
// tell it, replicaURL stands for it, which is empty for a client that was not made
// from a URL.
func identityOf(client ReplicaClient, replicaURL string) string {
	if c, ok := client.(ReplicaIdentifier); ok {
		if id := c.ReplicaIdentity(); id != "" {
			return id
		}
	}
	return identityOfURL(replicaURL)
}

// identityOfURL returns a replica URL without the parts that may be secret or
// may change: user information and parameters.
func identityOfURL(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme == "" {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Opaque: u.Opaque, Host: strings.ToLower(u.Host), Path: u.Path}).String()
}

// shorten returns a text that identifies s and fits the header of a segment.
func shorten(s string) string {
	if len(s) <= commitlog.MaxOwnerText {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return s[:1024] + "...sha256:" + hex.EncodeToString(sum[:])
}
