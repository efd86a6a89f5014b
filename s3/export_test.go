package s3

import "context"

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
