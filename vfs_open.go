package litestream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/ltxvfs/litestream/internal/pages"
)

// OpenMode is what a driver knows about a main database that SQLite opens.
type OpenMode struct {
	ReadOnly    bool // SQLITE_OPEN_READONLY
	Create      bool // SQLITE_OPEN_CREATE
	SharedCache bool // SQLite opens the file for its shared cache
}

// ErrLocalFile means that a name belongs to a plain local file. The driver opens it
// like any local file.
var ErrLocalFile = errors.New("not a replica, but a local file")

// OpenConn opens the main database of a name for a connection of SQLite, with the
// parameters of its URI. It is for drivers. If the name has no replica and the
// options allow local files, the error is ErrLocalFile. All other errors begin with
// "open" and the name. The caller closes the Conn.
func (v *VFS) OpenConn(name string, params map[string]string, mode OpenMode) (c *Conn, err error) {
	return v.openConn(context.Background(), name, params, mode)
}

// openConn is OpenConn, except that it returns an error when ctx ends. The error
// begins with the name and the place of the replica.
func (v *VFS) openConn(ctx context.Context, name string, params map[string]string, mode OpenMode) (*Conn, error) {
	url := params[replicaURL]
	byURL := url != "" && name == url
	if byURL {
		name = shownURL(url) // names are logged
	}
	c, err := v.openNamed(ctx, name, params, mode)
	if err == nil || errors.Is(err, ErrLocalFile) {
		return c, err
	}
	_, placed := errors.AsType[*placedError](err)
	name = shownName(name)
	switch {
	case byURL && placed:
		return nil, fmt.Errorf("open %w", err)
	case byURL || url == "" || placed || errors.Is(err, errNotAllowed):
		return nil, fmt.Errorf("open %s: %w", name, err)
	default:
		return nil, fmt.Errorf("open %s: %s: %w", name, shownURL(url), err)
	}
}

// openNamed is openConn without the name in its errors.
func (v *VFS) openNamed(ctx context.Context, name string, params map[string]string, mode OpenMode) (c *Conn, err error) {
	defer v.guard("open", &err)
	opts := v.options()
	if err := opts.allowParams(params); err != nil {
		return nil, err
	}
	if err := opts.validate(); err != nil {
		return nil, err
	}
	if opts, err = opts.withParams(params); err != nil {
		return nil, err
	}
	opts = opts.withDefaults().withAbsolutePaths()
	opts.replicaURL = params["replica_url"]
	key, newClient := v.route(name, params)
	if newClient == nil {
		return nil, v.localFile(name, mode)
	}
	shared := mode.SharedCache || params["cache"] == "shared"
	mayBeLocal := opts.NewClient != nil && params[replicaURL] == ""
	unknown := checkUnknownParams(params)
	switch {
	case mayBeLocal: // only the open will tell
	case unknown != nil:
		return nil, unknown
	case shared:
		return nil, ErrSharedCache
	}
	db, release, err := v.acquire(ctx, key, name, newClient, opts)
	if errors.Is(err, ErrLocalFile) {
		return nil, v.localFile(name, mode)
	}
	if err != nil {
		return nil, err
	}
	if shared || unknown != nil {
		release()
		return nil, cmp.Or(unknown, ErrSharedCache)
	}
	c = &Conn{db: db, name: name, token: params[connectionParam], call: v.opens.context(params[connectionParam]), log: db.log, release: release, predictor: pages.NewPredictor(db.prefetcher)}
	switch {
	case isSet(params["nolock"]) || isSet(params["immutable"]):
		c.access = accessFixed
	case mode.ReadOnly, mode.Create && !db.writer.MayBeEnabled():
		// SQLite treats BEGIN IMMEDIATE as BEGIN if a file is read-only, so that
		// programs that only read may use IMMEDIATE, too. A connection with mode=rw
		// may write later.
		c.access = accessRead
	}
	db.join(c)
	if c.access == accessFixed {
		c.pinNewest()
	}
	return c, nil
}

// localFile returns the error for a name without a replica. A misspelt name would
// silently make a new local database, so that is a warning.
func (v *VFS) localFile(name string, mode OpenMode) error {
	_, err := os.Lstat(name)
	isNew := errors.Is(err, fs.ErrNotExist)
	log, replicas := v.options().withDefaults().Logger, v.names.shown()
	switch allowed := v.options().LocalFiles; {
	case allowed == NoLocalFiles:
		return errors.New("it has no replica, and local files are not allowed")
	case allowed == ExistingLocalFiles && isNew:
		return errors.New("it has no replica, and new local files are not allowed")
	case isNew && mode.Create:
		log.Warn("a new local file is made, since the name is not that of a replica", "file", name, "replicas", replicas)
	default:
		log.Info("opened as a local file", "file", name, "replicas", replicas)
	}
	return ErrLocalFile
}

// route returns the key of the database that a name means, and a function that
// returns a client for it. The function is nil for a local file.
func (v *VFS) route(name string, params map[string]string) (key string, newClient newClientFunc) {
	key = keyOfName(name, params)
	if url := params[replicaURL]; url != "" {
		return key, func() (ReplicaClient, bool, error) {
			client, err := NewReplicaClientFromURL(url)
			return client, true, err
		}
	}
	if newClient := v.options().NewClient; newClient != nil {
		return key, func() (ReplicaClient, bool, error) {
			client, err := newClient(name)
			if err == nil && client == nil {
				err = ErrLocalFile
			} else if err == nil {
				err = checkUnknownParams(params) // before the replica is used
			}
			return client, false, err
		}
	}
	if v.client == nil {
		if !v.names.isEmpty() {
			return key, nil // databases were opened by URL, and this name is a local file
		}
		return key, func() (ReplicaClient, bool, error) {
			return nil, false, errors.New("no replica client: give one to NewVFS, or set Options.NewClient or the parameter replica_url")
		}
	}
	if !v.names.bind(name) {
		return key, nil
	}
	return key, func() (ReplicaClient, bool, error) { return v.client, false, nil }
}

// isSet reports whether a boolean URI parameter is true for SQLite: it begins with
// a number, decimal or hexadecimal, whose low byte is not zero, or is a word for true.
func isSet(s string) bool {
	digits, base := leading(s, "0123456789"), 10
	if digits == "0" && len(s) > 1 && s[1]|0x20 == 'x' {
		if hex := leading(s[2:], "0123456789abcdefABCDEF"); hex != "" {
			digits, base = hex, 16
		}
	}
	if digits != "" {
		n, err := strconv.ParseInt(digits, base, 32)
		return err == nil && n&0xff != 0
	}
	switch strings.ToLower(s) {
	case "on", "yes", "true":
		return true
	}
	return false
}

// leading returns the longest prefix of s that has only the characters of set.
func leading(s, set string) string { return s[:len(s)-len(strings.TrimLeft(s, set))] }
