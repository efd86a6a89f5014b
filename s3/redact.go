package s3

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

const (
	redacted = "[redacted]"

	// minSecret is the length from which on a credential is taken out wherever
	// it is. Shorter ones are parts of other words.
	minSecret = 6

	maxMessage = 300 // bytes
)

// redact returns a server's message without anything secret, and not too long.
func (c *credentials) redact(message string) string {
	secrets := slices.Clone(c.secrets)
	if last := c.last.Load(); last != nil {
		secrets = append(secrets, last.SessionToken, last.SecretAccessKey, last.AccessKeyID)
	}
	// One may be a part of another.
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, secret := range secrets {
		switch {
		case len(secret) >= minSecret:
			message = strings.ReplaceAll(message, secret, redacted)
		case secret != "":
			message = redactValue(message, secret)
		}
	}
	message = strings.Join(strings.Fields(message), " ")
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "..."
	}
	return message
}

// redactValue takes a short secret out of the places of values: between quotes
// or tags, and behind an equals sign or a colon.
func redactValue(message, secret string) string {
	value := regexp.MustCompile(`(["'=:>])` + regexp.QuoteMeta(secret) + `(["'<&,;)\s]|$)`)
	return value.ReplaceAllString(message, "${1}"+redacted+"${2}")
}
