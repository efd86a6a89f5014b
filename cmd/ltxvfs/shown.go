package main

import (
	neturl "net/url"
	"strings"
)

// shown returns a URL for texts: without parameters and passwords, which are secret.
// The name of a user stays, as a part of the place, but for NATS, where it may be a
// token.
func shown(url string) string {
	u, err := neturl.Parse(url)
	if err != nil {
		scheme, _, _ := strings.Cut(url, "://")
		return scheme + "://..." // where the password ends is not known
	}
	url, _, _ = strings.Cut(url, "?")
	if u.User == nil {
		return url
	}
	scheme, rest, _ := strings.Cut(url, "://")
	authority, path, hasPath := strings.Cut(rest, "/")
	if hasPath {
		path = "/" + path
	}
	at := strings.LastIndexByte(authority, '@')
	user, _, _ := strings.Cut(authority[:at+1], ":")
	switch user = strings.TrimSuffix(user, "@"); {
	case user == "" || scheme == "nats":
		return scheme + "://" + authority[at+1:] + path
	default:
		return scheme + "://" + user + authority[at:] + path
	}
}
