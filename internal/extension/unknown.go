package extension

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/nearest"
)

// storeVariables are the variables that the stores read. Litestream has those of S3
// and Azure.
var storeVariables = []string{
	"LITESTREAM_ACCESS_KEY_ID", "LITESTREAM_SECRET_ACCESS_KEY", "LITESTREAM_SESSION_TOKEN", "LITESTREAM_S3_ENDPOINT",
	"LITESTREAM_AZURE_ACCOUNT_KEY", "LITESTREAM_AZURE_SAS_TOKEN",
	"LITESTREAM_SFTP_PASSWORD", "LITESTREAM_SFTP_KEY_PATH", "LITESTREAM_SFTP_KEY_PASSPHRASE", "LITESTREAM_SFTP_HOST_KEY", "LITESTREAM_SFTP_KNOWN_HOSTS",
	"LITESTREAM_WEBDAV_PASSWORD",
}

// testPrefix begins the names of variables of this project's own tests.
const testPrefix = "LITESTREAM_TEST_"

// Unknown returns a sentence for each variable that has the extension's prefix and
// that neither the extension nor a store reads, in the order of their names. It
// says which variable was meant, if that is likely.
func (e Environment) Unknown() (sentences []string) {
	known := append([]string{ReplicaURL, DefaultVFS, LogLevel, LogFile, URIParameters, LocalFiles}, storeVariables...)
	for _, name := range litestream.OptionNames() {
		known = append(known, prefix+strings.ToUpper(name))
	}
	for _, name := range slices.Sorted(maps.Keys(e)) {
		if !strings.HasPrefix(name, prefix) || strings.HasPrefix(name, testPrefix) || slices.Contains(known, name) {
			continue
		}
		sentence := fmt.Sprintf("unknown variable %s is ignored", name)
		if meant := nearest.Of(name, known); meant != "" {
			sentence += fmt.Sprintf(", did you mean %s?", meant)
		}
		sentences = append(sentences, sentence)
	}
	return sentences
}
