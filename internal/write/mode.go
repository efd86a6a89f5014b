package write

// queueMode says whether connections of a database may write.
type queueMode int

const (
	modeOff      queueMode = iota // there is no write buffer; the database is read-only
	ModeOn                        // transactions may begin
	ModeStopping                  // write mode is being turned off: no transaction begins
	modeLost                      // another writer has written, so write mode has ended
	modeClosing                   // the database is being closed, and its write buffer is still open
	modeClosed                    // the database is closed, or is being closed without a write buffer
)

func (m queueMode) String() string {
	return [...]string{"off", "on", "stopping", "lost", "closing", "closed"}[m]
}

// HasBuffer reports whether there is a write buffer.
func (m queueMode) HasBuffer() bool { return m == ModeOn || m == ModeStopping || m == modeClosing }

// isClosed reports whether the database has begun to close. No other mode
// follows but modeClosed.
func (m queueMode) isClosed() bool { return m == modeClosing || m == modeClosed }

// stopping returns the mode while write mode is being turned off.
func (m queueMode) stopping() queueMode {
	if m == ModeOn {
		return ModeStopping
	}
	return m
}

// resumed returns the mode after write mode could not be turned off.
func (m queueMode) resumed() queueMode {
	if m == ModeStopping {
		return ModeOn
	}
	return m
}

// closing returns the mode once the database begins to close.
func (m queueMode) closing() queueMode {
	if m.HasBuffer() {
		return modeClosing
	}
	return modeClosed
}

// ended returns the mode after the write buffer was given up. Without one it
// stays.
func (m queueMode) ended() queueMode {
	switch m {
	case modeClosing:
		return modeClosed
	case ModeOn, ModeStopping:
		return modeOff
	}
	return m
}

// lost returns the mode after another writer has written.
func (m queueMode) lost() queueMode {
	if m.isClosed() {
		return modeClosed
	}
	return modeLost
}
