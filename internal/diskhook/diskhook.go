// Package diskhook runs operations on local files between two calls of a hook.
// Tests use it to copy files at every step, and to make a step fail.
package diskhook

// Hook is called before and after every operation. An error that it returns
// fails the operation. A nil Hook does nothing.
type Hook func(event string) error

// Do runs fn, which is the operation op, between the events "before: op" and
// "after: op". It returns the first error; fn does not run if the hook fails
// before it.
func (h Hook) Do(op string, fn func() error) error {
	if h == nil {
		return fn()
	}
	if err := h("before: " + op); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	return h("after: " + op)
}
