package nats

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"sync"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// problem is what the connection reports outside of calls. The server refuses a
// message for which a permission is missing in this way, and never answers it.
// It is safe for concurrent use.
type problem struct {
	source string // where the credentials come from; set before the first call

	mu struct {
		sync.Mutex                       // held for no I/O
		lost       error                 // why there is no connection; nil while there is one
		waiting    map[*waiting]struct{} // calls in flight
	}
}

// waiting is a call in flight.
type waiting struct {
	subject string // what the subject of its messages begins with
	cancel  context.CancelCauseFunc
}

// asynchronous is the ErrorHandler of the connection. It ends the calls that the
// server has refused.
func (p *problem) asynchronous(_ *natsgo.Conn, _ *natsgo.Subscription, err error) {
	if isDenied(err) {
		p.setLost(err) // of an attempt to reconnect
		return
	}
	if !errors.Is(err, natsgo.ErrPermissionViolation) {
		return
	}
	denied := fmt.Errorf("%s: %s (%w)", p.source, strings.TrimPrefix(err.Error(), "nats: "), fs.ErrPermission)
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := range p.mu.waiting {
		// Without its inbox, no call gets an answer.
		if strings.Contains(err.Error(), `"`+w.subject) || strings.Contains(err.Error(), `"_INBOX.`) {
			w.cancel(denied)
		}
	}
}

func (p *problem) disconnected(_ *natsgo.Conn, err error) {
	if err == nil || errors.Is(err, io.EOF) {
		// It must not be taken for the end of a file.
		err = errors.New("server closed the connection: EOF")
	}
	p.setLost(err)
	lost := fmt.Errorf("connection to the server is lost: %w", err)
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := range p.mu.waiting {
		w.cancel(lost) // no answer comes any more
	}
}

func (p *problem) reconnectFailed(_ *natsgo.Conn, err error) { p.setLost(err) }

func (p *problem) reconnected(*natsgo.Conn) { p.setLost(nil) }

// setLost notes why there is no connection; nil: there is one. The reason may be that a
// file with credentials is gone.
func (p *problem) setLost(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.lost = clientio.WithoutClass(err)
}

// lost returns why there is no connection, or nil.
func (p *problem) lost() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.lost
}

// watch returns a context that ends when the connection is lost, and when the
// server refuses messages whose subject begins with subject.
func (p *problem) watch(ctx context.Context, subject string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &waiting{subject, cancel}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.waiting == nil {
		p.mu.waiting = make(map[*waiting]struct{})
	}
	p.mu.waiting[w] = struct{}{}
	return ctx, func() {
		p.mu.Lock()
		delete(p.mu.waiting, w)
		p.mu.Unlock()
		cancel(nil)
	}
}

// call makes a call whose messages have a subject that begins with subject. It
// returns the error of the call in its class.
func (s *session) call(ctx context.Context, subject string, fn func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	callCtx, done := s.problem.watch(ctx, subject)
	defer done()
	err := fn(callCtx)
	if err == nil {
		return nil
	}
	if cause := context.Cause(callCtx); cause != nil && ctx.Err() == nil {
		return cause
	}
	return clientio.WithCause(ctx, s.classify(err))
}

// classify returns an error of the library in its class.
func (s *session) classify(err error) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return clientio.Permanent(fmt.Errorf("no bucket %s, or not for %s: create it with: nats object add %s", s.bucket, s.problem.source, s.bucket))
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return clientio.Permanent(errors.New("server has no jetstream, or not for this account"))
	case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
		return err
	case errors.As(err, &api) && (api.Code == 401 || api.Code == 403):
		return fmt.Errorf("%s: %w (%w)", s.problem.source, err, fs.ErrPermission)
	case errors.Is(err, natsgo.ErrMaxPayload):
		return clientio.Permanent(err)
	case errors.Is(err, natsgo.ErrConnectionClosed):
		return fmt.Errorf("client was closed: %w", err)
	}
	if lost := s.problem.lost(); lost != nil {
		if isDenied(lost) {
			return fmt.Errorf("connection is lost, and %s is not accepted: %w (%w)", s.problem.source, lost, fs.ErrPermission)
		}
		return fmt.Errorf("connection to the server is lost: %w", lost)
	}
	return err
}

// isDenied reports whether a server has refused the credentials.
func isDenied(err error) bool {
	return errors.Is(err, natsgo.ErrAuthorization) || errors.Is(err, natsgo.ErrAuthExpired) ||
		errors.Is(err, natsgo.ErrAuthRevoked) || errors.Is(err, natsgo.ErrAccountAuthExpired)
}

// connectFailed returns the error of a first connect in its class.
func (p *problem) connectFailed(err error) error {
	var untrusted *tls.CertificateVerificationError
	switch {
	case isDenied(err):
		return fmt.Errorf("%s: %w (%w)", p.source, err, fs.ErrPermission)
	case errors.Is(err, natsgo.ErrSecureConnRequired):
		return clientio.Permanent(fmt.Errorf("%w: set tls=true", err))
	case errors.Is(err, natsgo.ErrSecureConnWanted):
		return clientio.Permanent(fmt.Errorf("%w: the server offers none", err))
	case errors.As(err, &untrusted):
		return clientio.Permanent(err)
	case errors.Is(err, errSeed):
		return clientio.Permanent(err)
	}
	if lost := p.lost(); errors.Is(err, natsgo.ErrNoServers) && lost != nil {
		return lost
	}
	return clientio.WithoutClass(err)
}

// dialer dials servers, and keeps the errors, which the library does not return.
type dialer struct {
	net.Dialer
	problem *problem
}

// Dial implements natsgo.CustomDialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	conn, err := d.Dialer.Dial(network, address)
	if err != nil {
		d.problem.setLost(err)
	}
	return conn, err
}
