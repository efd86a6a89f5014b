package booltext

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for want, words := range map[bool]string{
		true:  "true TRUE True t T yes Yes on ON 1",
		false: "false FALSE False f F no No off OFF 0",
	} {
		for word := range strings.FieldsSeq(words) {
			if got, err := Parse(word); err != nil || got != want {
				t.Errorf("%s: got %v, %v", word, got, err)
			}
		}
	}
	for _, word := range []string{"", " true", "2", "-1", "yess", "n", "y", "null", "00"} {
		if _, err := Parse(word); err == nil {
			t.Errorf("%q is accepted", word)
		}
	}
}
