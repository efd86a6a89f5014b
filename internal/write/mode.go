package write

// queueMode says whether connections of a database may write.
type queueMode int

const (
	modeOff      queueMode = iota // the database is read-only and has no write buffer
	modeOn                        // transactions may begin
	modeStopping                  // write mode is being turned off: no transaction begins
	modeLosing                    // another writer has written, and the write buffer is being put aside
	modeLost                      // another writer has written, so write mode has ended
	modeClosing                   // the database is being closed, and its write buffer is still open
	modeClosed                    // the database is closed, or is being closed without a write buffer
)

func (m queueMode) String() string {
	return [...]string{"off", "on", "stopping", "losing", "lost", "closing", "closed"}[m]
}

// hasBuffer reports whether the database has a write buffer in this mode.
func (m queueMode) hasBuffer() bool { return m == modeOn || m == modeStopping || m == modeClosing }

// isClosed reports whether the database has begun to close. Only modeClosed can
// follow.
func (m queueMode) isClosed() bool { return m == modeClosing || m == modeClosed }

// isOver reports whether the write buffer was given up with the database. Then there
// is nothing to sync any more, whether commits are on the replica or not.
func (m queueMode) isOver() bool { return m == modeClosed }

// stopping returns the mode while write mode is being turned off.
func (m queueMode) stopping() queueMode {
	if m == modeOn {
		return modeStopping
	}
	return m
}

// resumed returns the mode after write mode could not be turned off.
func (m queueMode) resumed() queueMode {
	if m == modeStopping {
		return modeOn
	}
	return m
}

// closing returns the mode once the database begins to close.
func (m queueMode) closing() queueMode {
	if m.hasBuffer() {
		return modeClosing
	}
	return modeClosed
}

// ended returns the mode after the write buffer was given up. A mode without a
// write buffer stays.
func (m queueMode) ended() queueMode {
	switch m {
	case modeClosing:
		return modeClosed
	case modeOn, modeStopping:
		return modeOff
	}
	return m
}

// losing returns the mode after another writer has written.
func (m queueMode) losing() queueMode {
	if m.isClosed() {
		return modeClosed
	}
	return modeLosing
}

// lost returns the mode after losing, once the write buffer was put aside.
func (m queueMode) lost() queueMode {
	if m == modeLosing {
		return modeLost
	}
	return m
}
