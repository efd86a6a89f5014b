//go:build cgo

package ncruces

import (
	"database/sql/driver"
	"errors"

	"github.com/ltxvfs/litestream"
)

func newConnector(string, *litestream.Options) (driver.Connector, error) {
	return nil, errors.New("ncruces.NewConnector is for programs without cgo: build this one with CGO_ENABLED=0, or use litestream.NewConnector")
}
