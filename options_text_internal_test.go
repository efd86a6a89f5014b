package litestream

import (
	"reflect"
	"strings"
	"testing"
)

// FuzzOptions sets options from text, as the parameters of a URI and the environment do.
// What is accepted is in range, and its text means the same. An error names the option
// and changes nothing.
func FuzzOptions(f *testing.F) {
	for name, text := range map[string]string{
		"poll_interval": "1m30s", "cache_size": "-10MiB", "hydration_concurrency": "7", "hydration_mode": "interiors", "write_enabled": "yes",
		"compaction_levels": "30s, 5m,1h", "wait_for_replica": "0", "buffer_path": "/x", "cache_sise": "1",
	} {
		f.Add(name, text)
	}
	f.Fuzz(func(t *testing.T, name, text string) {
		names := OptionNames()
		for _, name := range append(names, name) {
			var o Options
			if err := o.Set(name, text); err != nil {
				if !reflect.DeepEqual(o, Options{}) || !strings.Contains(err.Error(), "option "+name) && !strings.HasPrefix(err.Error(), "unknown option ") {
					t.Errorf("%s = %q: error %v, options %+v", name, text, err, o)
				}
				continue
			}
			if err := o.validate(); err != nil {
				t.Errorf("%s = %q is accepted: %v", name, text, err)
			}
			opt, _ := findOption(name)
			if _, isString := opt.at(&o).(*string); isString {
				continue // its text is quoted
			}
			var again Options
			if err := again.Set(name, opt.text(o)); err != nil || !reflect.DeepEqual(o, again) {
				t.Errorf("%s = %q is %s, which is %+v, error %v", name, text, opt.text(o), again, err)
			}
		}
	})
}
