package gs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/compute/metadata"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const (
	metadataDial    = 2 * time.Second
	metadataTimeout = 5 * time.Second // limit of a request
)

// metadataCredentials returns the credentials of the machine's service account.
// The library's own credentials read an answer of a metadata server into memory
// without a limit.
func metadataCredentials(scopes []string) *auth.Credentials {
	tr := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: metadataDial}).DialContext,
		DisableKeepAlives:      true, // there is one request an hour
		MaxResponseHeaderBytes: 64 << 10,
	}
	client := metadata.NewClient(&http.Client{Transport: clientio.Limited(tr), Timeout: metadataTimeout})
	return auth.NewCredentials(&auth.CredentialsOptions{
		TokenProvider: auth.NewCachedTokenProvider(&metadataTokens{client, scopes}, nil),
	})
}

// metadataTokens implements auth.TokenProvider.
type metadataTokens struct {
	client *metadata.Client
	scopes []string
}

// Token implements auth.TokenProvider.
func (m *metadataTokens) Token(ctx context.Context) (*auth.Token, error) {
	query := url.Values{"scopes": {strings.Join(m.scopes, ",")}}
	text, err := m.client.GetWithContext(ctx, "instance/service-accounts/default/token?"+query.Encode())
	if err != nil {
		return nil, fmt.Errorf("ask the metadata server: %w", err)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"` // in seconds
		TokenType   string `json:"token_type"`
	}
	if json.Unmarshal([]byte(text), &answer) != nil || answer.AccessToken == "" || answer.ExpiresIn <= 0 {
		return nil, errors.New("answer of the metadata server is no token")
	}
	return &auth.Token{
		Value: answer.AccessToken, Type: answer.TokenType,
		Expiry: time.Now().Add(time.Duration(answer.ExpiresIn) * time.Second),
	}, nil
}
