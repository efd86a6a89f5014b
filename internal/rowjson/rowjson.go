// Package rowjson writes rows of SQLite as JSON objects.
//
// NULL is null, a text is a string, and a blob is a string in base64. A REAL has
// always a point or an exponent, so that SQLite's JSON functions give a REAL again:
// 12.0 as 12 would be an INTEGER, by which they divide without a remainder. JSON has
// no infinite numbers, which are null.
package rowjson

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// AppendFields appends the fields of an object to b, without the braces. A value is
// nil, an int64, a float64, a string or a []byte.
func AppendFields(b []byte, columns []string, values []any) ([]byte, error) {
	for i, v := range values {
		if i > 0 {
			b = append(b, ", "...)
		}
		name, err := json.Marshal(columns[i])
		if err != nil {
			return nil, err
		}
		b = append(append(b, name...), ": "...)
		if b, err = appendValue(b, v); err != nil {
			return nil, fmt.Errorf("column %s: %w", columns[i], err)
		}
	}
	return b, nil
}

// Object returns an object.
func Object(columns []string, values []any) (string, error) {
	b, err := AppendFields([]byte("{"), columns, values)
	if err != nil {
		return "", err
	}
	return string(append(b, '}')), nil
}

func appendValue(b []byte, v any) ([]byte, error) {
	switch f := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case int64:
		return strconv.AppendInt(b, f, 10), nil
	case []byte:
		v = base64.StdEncoding.EncodeToString(f)
	case float64:
		if math.IsInf(f, 0) || math.IsNaN(f) {
			v = nil
		}
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	b = append(b, text...)
	if _, ok := v.(float64); ok && !strings.ContainsAny(string(text), ".e") {
		b = append(b, ".0"...)
	}
	return b, nil
}
