package webdav

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"net/http"
	"strings"
	"sync/atomic"
)

// challenge is what a server wants from a client that it does not know yet.
type challenge struct {
	basic bool

	// The rest is for digest authentication, of RFC 7616.
	realm, nonce, opaque, algorithm string
	qop                             bool
	newHash                         func() hash.Hash
	count                           atomic.Uint32 // requests with the nonce
}

// authorize adds credentials to a request, once the server has asked for them. It
// returns the challenge that they answer, or nil.
func (s *session) authorize(req *http.Request) *challenge {
	s.mu.Lock()
	c := s.mu.challenge
	s.mu.Unlock()
	switch {
	case c == nil:
	case c.basic:
		req.SetBasicAuth(s.user, s.password)
	default:
		req.Header.Set("Authorization", c.digest(s.user, s.password, req.Method, req.URL.RequestURI()))
	}
	return c
}

// learn takes what the server wants from an answer. It reports whether it is worth to
// send the request again: there are credentials, and the request had none, or an old
// nonce.
func (s *session) learn(resp *http.Response, before *challenge) bool {
	if s.user == "" {
		return false
	}
	next, stale := parseChallenges(resp.Header.Values("WWW-Authenticate"))
	if next == nil || before != nil && !stale {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.challenge == before {
		s.mu.challenge = next
	}
	return true
}

// parseChallenges returns the best of the challenges of a server: digest before basic.
// stale says that credentials were right, and only the nonce is too old.
func parseChallenges(headers []string) (best *challenge, stale bool) {
	for _, header := range headers {
		scheme, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
		switch {
		case strings.EqualFold(scheme, "basic"):
			if best == nil {
				best = &challenge{basic: true}
			}
		case strings.EqualFold(scheme, "digest"):
			p := parseParams(rest)
			c := &challenge{realm: p["realm"], nonce: p["nonce"], opaque: p["opaque"], algorithm: p["algorithm"]}
			switch strings.ToUpper(c.algorithm) {
			case "", "MD5":
				c.newHash = md5.New
			case "SHA-256":
				c.newHash = sha256.New
			default:
				continue
			}
			for q := range strings.SplitSeq(p["qop"], ",") {
				c.qop = c.qop || strings.TrimSpace(q) == "auth"
			}
			if c.nonce == "" || p["qop"] != "" && !c.qop {
				continue
			}
			if best == nil || best.basic || strings.EqualFold(c.algorithm, "SHA-256") {
				best, stale = c, strings.EqualFold(p["stale"], "true")
			}
		}
	}
	return best, stale
}

// parseParams parses name="value" or name=value, separated by commas.
func parseParams(text string) map[string]string {
	params := map[string]string{}
	for text = strings.TrimLeft(text, " ,"); text != ""; text = strings.TrimLeft(text, " ,") {
		name, rest, ok := strings.Cut(text, "=")
		if !ok {
			break
		}
		var value string
		if quoted, isQuoted := strings.CutPrefix(rest, `"`); isQuoted {
			var b strings.Builder
			for i := 0; ; i++ {
				if i == len(quoted) {
					text = ""
					break
				}
				if quoted[i] == '"' {
					text = quoted[i+1:]
					break
				}
				if quoted[i] == '\\' && i+1 < len(quoted) {
					i++
				}
				b.WriteByte(quoted[i])
			}
			value = b.String()
		} else {
			value, text, _ = strings.Cut(rest, ",")
			value = strings.TrimSpace(value)
		}
		params[strings.ToLower(strings.TrimSpace(name))] = value
	}
	return params
}

// digest returns the header Authorization of a request.
func (c *challenge) digest(user, password, method, uri string) string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	cnonce, nc := hex.EncodeToString(random[:]), fmt.Sprintf("%08x", c.count.Add(1))
	sum := func(text string) string {
		h := c.newHash()
		h.Write([]byte(text))
		return hex.EncodeToString(h.Sum(nil))
	}
	secret, request := sum(user+":"+c.realm+":"+password), sum(method+":"+uri)
	response := sum(secret + ":" + c.nonce + ":" + request)
	if c.qop {
		response = sum(strings.Join([]string{secret, c.nonce, nc, cnonce, "auth", request}, ":"))
	}
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace
	text := fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s"`, quote(user), quote(c.realm), quote(c.nonce), uri, response)
	if c.algorithm != "" {
		text += ", algorithm=" + c.algorithm
	}
	if c.opaque != "" {
		text += fmt.Sprintf(`, opaque="%s"`, quote(c.opaque))
	}
	if c.qop {
		text += fmt.Sprintf(`, qop=auth, nc=%s, cnonce="%s"`, nc, cnonce)
	}
	return text
}
