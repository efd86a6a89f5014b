// Package changetable describes litestream_changes, the table-valued function of
// every binding, as SQLite declares it.
package changetable

// Name is the name of the function.
const Name = "litestream_changes"

// These are the numbers of the columns. Those from TableArgument on are arguments,
// which SQLite hides.
const (
	Kind = iota
	TableName
	Rowid
	Key
	Old
	New
	OldSQL
	SQL
	TableArgument
	FromArgument
	ToArgument
)

// Arguments is how many arguments there are.
const Arguments = 3

// Schema declares the columns.
const Schema = `CREATE TABLE litestream_changes (
	kind TEXT, tbl_name TEXT, rowid INTEGER, key TEXT, old TEXT, new TEXT, old_sql TEXT, sql TEXT,
	"table" TEXT HIDDEN, "from" TEXT HIDDEN, "to" TEXT HIDDEN
)`
