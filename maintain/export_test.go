package maintain

import "time"

// SetRecordEvery sets the time between two writes to the record of a restore.
func SetRecordEvery(d time.Duration) { recordEvery = d }
