package s3_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/s3"
)

// Short credentials are taken away where credentials stand, and leave other
// words alone.
func TestRedact(t *testing.T) {
	const message = "a header you provided implies functionality that is not implemented; bucket is in minio at http://minio:9000"
	for _, tt := range []struct{ id, secret, in, want string }{
		{"a", "b", message, message},
		{"minio", "i", message, message},
		{"a", "b", `key="a" and secret='b', ?id=a&sig=b <AWSAccessKeyId>a</AWSAccessKeyId> a:b id=a`,
			`key="[redacted]" and secret='[redacted]', ?id=[redacted]&sig=[redacted] <AWSAccessKeyId>[redacted]</AWSAccessKeyId> a:[redacted] id=[redacted]`},
		{"minio", "minio123", "you are minio with minio123, minio=minio", "you are minio with [redacted], minio=[redacted]"},
		{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI", "xAKIAIOSFODNN7EXAMPLEx wJalrXUtnFEMI/", "x[redacted]x [redacted]/"},
		{"backup", "backup-secret", "backup-secret of backup", "[redacted] of [redacted]"},
		{"longer-than-the-secret", "longer", "longer-than-the-secret", "[redacted]"},
		{"", "", message, message},
	} {
		if got := s3.Redact(tt.id, tt.secret, tt.in); got != tt.want {
			t.Errorf("%s, %s:\ngot  %s\nwant %s", tt.id, tt.secret, got, tt.want)
		}
	}
}

// What a server says can be read, however short the credentials are.
func TestRedact_Errors(t *testing.T) {
	for name, handle := range map[string]http.HandlerFunc{
		"error": refuse(403, "AccessDenied", "Access Denied by an administrator"),
		"page": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<title>Access Denied by an administrator</title>")
		},
	} {
		c := fakeClient(t, handle)
		c.AccessKeyID, c.SecretAccessKey, c.SessionToken = "e", "i", "s"
		_, err := list(t.Context(), c, false)
		if err == nil || !strings.Contains(err.Error(), "Access Denied by an administrator") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
