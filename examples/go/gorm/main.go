// Command gorm is a to-do list on object storage, with GORM. Package todocli has the
// commands.
package main

import (
	"errors"
	"os"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/examples/go/todocli"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
)

// Todo is a row of the table todos.
type Todo struct {
	ID    uint
	Title string `gorm:"not null"`
}

func main() { os.Exit(todocli.Run(open())) }

func open() (list todocli.List, err error) {
	conn, err := litestream.Open(todocli.URL(), &litestream.Options{WriteEnabled: todocli.IsWriter()})
	if err != nil {
		return list, err
	}
	db, err := gorm.Open(sqlite.New(sqlite.Config{Conn: conn}))
	if err != nil {
		return list, errors.Join(err, conn.Close())
	}

	list.Titles = func() (titles []string, err error) {
		return titles, db.Model(&Todo{}).Order("id").Pluck("title", &titles).Error
	}
	list.Add = func(title string) (txid string, err error) {
		if err := db.AutoMigrate(&Todo{}); err != nil {
			return "", err
		}
		if err := db.Create(&Todo{Title: title}).Error; err != nil {
			return "", err
		}
		err = db.Raw("SELECT litestream_sync()").Scan(&txid).Error
		return txid, err
	}
	list.Wait = func(txid string) error {
		var newest string
		return db.Raw("SELECT litestream_wait(?, 10)", txid).Scan(&newest).Error
	}
	list.Close = conn.Close
	return list, nil
}
