package webdav

import (
	"context"
	"errors"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// claimName is the name in the folder of a level of the folder that a client has
// while it creates a file at a server without exclusive locks.
const claimName = ".create"

// claimTries is how often a client tries again what a server refuses without an
// apparent reason.
const claimTries = 6

// claim stores content under a name, unless that exists, at a server that renames
// folders as POSIX does. The folder of a level has at most one folder of the name
// claimName, the claim. A client creates a file in three steps:
//
//  1. It stores the content in a new folder under a temporary name.
//  2. It renames that folder to claimName. A rename fails if there is a folder of that
//     name which is not empty, so only one client at a time has the claim.
//  3. It renames the content from within the claim to the name of the file, unless
//     that exists.
//
// Step 3 has an effect only while the client has the claim, because its content is
// found nowhere else. So nobody needs to know whether a client that has the claim is
// dead or slow: another one that is out of patience renames the claim, and step 3 of
// the client that had it finds nothing to rename. Time matters for how long others
// wait, and not for whether two of them succeed.
//
// The server looks for the name of the file and renames the content in two steps. In
// between, no other content comes to the name: that would take another claim, after
// which the content of this one is gone.
func (s *session) claim(ctx context.Context, name string, content body) error {
	for {
		err := s.claimOnce(ctx, name, content)
		if !errors.Is(err, errRevoked) || ctx.Err() != nil {
			return err
		}
	}
}

// errRevoked is the error of a client that has lost its claim before it could create
// the file.
var errRevoked = errors.New("another client has taken the claim away")

// claimOnce creates a file with one claim.
func (s *session) claimOnce(ctx context.Context, name string, content body) error {
	temp, claim := folderName(tempName(name)), folderName(path.Join(path.Dir(name), claimName))
	file := path.Base(temp)
	err := s.makeFolder(ctx, path.Clean(temp))
	if err == nil {
		err = s.put(ctx, temp+file, content)
	}
	if err == nil {
		err = s.obtain(ctx, temp, claim, name)
	}
	if err != nil {
		s.discard(ctx, temp)
		if !errors.Is(err, errOccupied) {
			s.abandon(ctx, claim, file)
		}
		return err
	}
	status, err := s.rename(ctx, claim+file, name)
	if status == http.StatusNotFound {
		return errRevoked // and the file was not created, since nothing repeats the request
	}
	// If the claim stays, the next client waits until it is out of patience.
	s.discard(ctx, claim)
	if status == http.StatusPreconditionFailed {
		return errOccupied
	}
	return err
}

// abandon removes a claim after a failure, if the client has it: its request may have
// been carried out although there was no answer.
func (s *session) abandon(ctx context.Context, claim, file string) {
	lookCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	if entries, err := s.folder(lookCtx, claim); err == nil && holderOf(entries) == file {
		s.discard(ctx, claim)
	}
}

// obtain renames the folder temp to claim. It waits while another client has the
// claim, and takes it away when it is out of patience. It returns errOccupied once the
// file exists.
func (s *session) obtain(ctx context.Context, temp, claim, name string) error {
	var holder string // content of the claim when it was last seen
	var since time.Time
	tries := 0
	for wait := firstWait; ; wait = min(2*wait, mostWait) {
		status, err := s.rename(ctx, temp, claim)
		if err == nil || status == 0 {
			return err
		}
		switch exists, err := s.exists(ctx, name); {
		case err != nil:
			return err
		case exists:
			return errOccupied
		}
		switch entries, ferr := s.folder(ctx, claim); {
		case ferr != nil:
			// The claim is free again, or changes hands just now, unless the server
			// refuses for another reason.
			if tries++; tries == claimTries {
				return err
			}
		case since.IsZero(), holderOf(entries) != holder:
			tries, holder, since = 0, holderOf(entries), time.Now()
		case time.Since(since) >= patience:
			if err := s.revoke(ctx, claim); err != nil {
				return err
			}
			since = time.Time{}
		}
		if !clientio.Pause(ctx, wait) {
			return ctx.Err()
		}
	}
}

// holderOf returns a text that is another one for each claim.
func holderOf(entries []entry) string {
	var names []string
	for _, e := range entries {
		names = append(names, e.name)
	}
	return strings.Join(names, "/")
}

// revoke takes a claim away from the client that has it. If that has just been done,
// it is no error.
func (s *session) revoke(ctx context.Context, claim string) error {
	away := folderName(tempName(path.Clean(claim)))
	status, err := s.rename(ctx, claim, away)
	if status == http.StatusNotFound {
		return nil
	}
	if err == nil {
		s.discard(ctx, away)
	}
	return err
}

// folderName returns the name of a folder with a slash at its end. Without that, Apache
// redirects requests.
func folderName(name string) string { return strings.TrimSuffix(name, "/") + "/" }

// rename gives a file or a folder another name, unless that exists. The status is that
// of the answer, or 0 if there was none.
func (s *session) rename(ctx context.Context, from, to string) (status int, err error) {
	status, _, err = s.do(ctx, "MOVE", from, s.destination(to, false), nil, http.StatusCreated, http.StatusNoContent, http.StatusOK)
	return status, err
}

// exists reports whether there is a file of a name.
func (s *session) exists(ctx context.Context, name string) (bool, error) {
	_, _, err := s.do(ctx, http.MethodHead, name, nil, nil, http.StatusOK)
	if errors.Is(err, clientio.ErrAbsent) {
		return false, nil
	}
	return err == nil, err
}
