package s3

import (
	"crypto/md5"
	"encoding/base64"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// encryption holds the fields of requests that concern encryption by the
// server. Nil fields are not sent.
type encryption struct {
	algorithm, key, keyMD5 *string // SSE-C: sent with every request for a file
	kmsKeyID               *string // SSE-KMS: sent with requests that create a file
	method                 types.ServerSideEncryption
}

func (c *ReplicaClient) encryption(ep endpoint) (e encryption, err error) {
	defer func() {
		if err != nil {
			err = clientio.Invalid("%w", err)
		}
	}()
	if c.SSEKMSKeyID != "" {
		if c.SSECustomerKey != "" {
			return e, errors.New("both sse customer key and sse kms key are set")
		}
		return encryption{kmsKeyID: &c.SSEKMSKeyID, method: types.ServerSideEncryptionAwsKms}, nil
	}
	if c.SSECustomerKey == "" {
		if c.SSECustomerAlgorithm != "" || c.SSECustomerKeyMD5 != "" {
			return e, errors.New("sse customer algorithm or md5 is set without a key")
		}
		return e, nil
	}
	if c.SSECustomerAlgorithm != "" && c.SSECustomerAlgorithm != "AES256" {
		return e, errors.New("sse customer algorithm is not AES256")
	}
	key, err := base64.StdEncoding.DecodeString(c.SSECustomerKey)
	if err != nil || len(key) != 32 {
		return e, errors.New("sse customer key is not 32 bytes in base64")
	}
	sum := md5.Sum(key)
	keyMD5 := base64.StdEncoding.EncodeToString(sum[:])
	if c.SSECustomerKeyMD5 != "" && c.SSECustomerKeyMD5 != keyMD5 {
		return e, errors.New("sse customer key md5 is not that of the key")
	}
	if ep.plain() && !ep.local() {
		return e, errors.New("sse customer key would go over the network without tls")
	}
	algorithm, value := "AES256", c.SSECustomerKey
	return encryption{algorithm: &algorithm, key: &value, keyMD5: &keyMD5}, nil
}
