package s3

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Resolved is how a client makes its requests.
type Resolved struct {
	Endpoint         string // "" is AWS
	Region           string
	PathStyle        bool
	Credentials      string
	PartSize         int
	Concurrency      int
	SingleDeletes    bool
	NoConditionalPut bool
}

// Resolve connects c and says how.
func Resolve(ctx context.Context, c *ReplicaClient) (Resolved, error) {
	conn, err := c.connect(ctx)
	if err != nil {
		return Resolved{}, err
	}
	if conn.release != nil {
		defer conn.release()
	}
	o := conn.api.Options()
	r := Resolved{
		Region: o.Region, PathStyle: o.UsePathStyle, Credentials: conn.creds.String(),
		PartSize: conn.partSize, Concurrency: conn.concurrency,
		SingleDeletes: conn.singleDeletes.Load(), NoConditionalPut: conn.noConditionalPut,
	}
	if o.BaseEndpoint != nil {
		r.Endpoint = *o.BaseEndpoint
	}
	return r, nil
}

// SetPartSize connects c and gives it a part size that may be less than S3
// takes. It does not wait before it sends a part again.
func SetPartSize(ctx context.Context, c *ReplicaClient, size int) error {
	conn, err := c.connect(ctx)
	if err == nil {
		conn.partSize, conn.maxPartBackoff = size, time.Millisecond
	}
	return err
}

// Redact takes credentials out of a message.
func Redact(id, secret, message string) string {
	c := &credentials{}
	c.last.Store(&aws.Credentials{AccessKeyID: id, SecretAccessKey: secret})
	return c.redact(message)
}
