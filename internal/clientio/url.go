package clientio

import (
	"maps"
	"net/url"
	"slices"
)

// SetParameters calls set for each parameter of a URL, in the order of their names. A
// parameter that is empty, or is there more than once, is an error.
func SetParameters(query url.Values, set func(name, value string) error) error {
	for _, name := range slices.Sorted(maps.Keys(query)) {
		values := query[name]
		if len(values) != 1 || values[0] == "" {
			return Invalid("url parameter %q needs one value", name)
		}
		if err := set(name, values[0]); err != nil {
			return err
		}
	}
	return nil
}

// WebAddress parses the address of a web server, or of a folder there. what says whose
// address it is, and example is one, for errors, which do not show the address: it may
// contain a token.
func WebAddress(text, what, example string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, Invalid("address of the %s is no url", what)
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.Opaque != "":
		return nil, Invalid("address of the %s has no host, want one like %s", what, example)
	case u.User != nil, u.RawQuery != "", u.ForceQuery, u.Fragment != "":
		return nil, Invalid("address of the %s has more than a host and a path", what)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}, nil
}

// NoParameters returns an error if a URL has parameters. what says which URL has none.
func NoParameters(query url.Values, what string) error {
	if len(query) == 0 {
		return nil
	}
	return Invalid("unknown parameter %q: %s url has no parameters", slices.Min(slices.Collect(maps.Keys(query))), what)
}
