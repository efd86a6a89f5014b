package s3

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

const (
	redacted = "[redacted]"

	// minSecret is the length from which a credential is removed everywhere in
	// a text. A shorter one may be a part of another word.
	minSecret = 6

	maxMessage = 300 // bytes
)

// redact returns a message of the server, cut to a moderate length and without
// secrets.
func (c *credentials) redact(message string) string {
	secrets := slices.Clone(c.secrets)
	if last := c.last.Load(); last != nil {
		secrets = append(secrets, last.SessionToken, last.SecretAccessKey, last.AccessKeyID)
	}
	if last := c.session.Load(); last != nil {
		secrets = append(secrets, last.SessionToken, last.SecretAccessKey, last.AccessKeyID)
	}
	// One secret may be a part of another one.
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

// redactValue removes a short secret where it is a value: between quotes or
// tags, and after an equals sign or a colon.
func redactValue(message, secret string) string {
	value := regexp.MustCompile(`(["'=:>])` + regexp.QuoteMeta(secret) + `(["'<&,;)\s]|$)`)
	return value.ReplaceAllString(message, "${1}"+redacted+"${2}")
}
