package pages

// rowLimit tells how many leaves a scan has to read before the LIMIT of its statement
// may end it. A scan may need more, because the statement leaves out or sorts
// rows, or none of them: so the limit holds a scan back only until it has read as
// many rows as the statement asks for. A nil rowLimit knows of no statement.
type rowLimit struct {
	ask  func() (rows int, ok bool) // tells the limit of the statement; nil if it was asked
	most int                        // rows that the statement asks for, if it has a limit
	has  bool                       // the statement has a limit

	rows, leaves int // that the reader has come to
}

func newRowLimit(ask func() (int, bool)) *rowLimit {
	if ask == nil {
		return nil
	}
	return &rowLimit{ask: ask}
}

// isOpen reports whether the limit may still hold the scan back.
func (l *rowLimit) isOpen() bool { return l != nil && (l.ask != nil || l.has && l.rows < l.most) }

// saw counts the rows of a leaf that the reader has come to.
func (l *rowLimit) saw(rows int) {
	l.rows += rows
	l.leaves++
}

// isNone reports whether the statement is known and has no limit.
func (l *rowLimit) isNone() bool { return l != nil && l.ask == nil && !l.has }

// rest returns about how many leaves more hold the rows that the statement asks
// for, and one eighth in addition because leaves differ. It reports false if that
// is not known, or the reader has come to all of these rows.
func (l *rowLimit) rest() (leaves int, ok bool) {
	if !l.isOpen() || l.leaves == 0 {
		return 0, false
	}
	rows, ok := l.after(l.rows)
	leaves = rows / max(1, l.rows/l.leaves)
	return leaves + leaves/8 + 1, ok
}

// after returns how many rows the statement asks for beyond those that the reader
// has come to. It reports false if that is not known, or there are none.
func (l *rowLimit) after(rows int) (more int, ok bool) {
	if l == nil {
		return 0, false
	}
	if l.ask != nil {
		l.most, l.has = l.ask()
		l.ask = nil
	}
	return l.most - rows, l.has && rows < l.most
}
