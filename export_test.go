package litestream

// OnDisk has fn called before and after everything that is done to local
// files, which fails if fn does.
func OnDisk(o *Options, fn func(op string) error) { o.onDisk = fn }
