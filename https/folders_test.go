package https

import (
	"net/url"
	"strings"
	"testing"

	"github.com/superfly/ltx"
)

// A page that lists a folder is whole only up to the end of its list.
func TestParseHTML_CutOff(t *testing.T) {
	folder := &url.URL{Scheme: "https", Host: "example.com", Path: "/app/ltx/0/"}
	names := strings.NewReplacer("FIRST", ltx.FormatFilename(1, 1), "SECOND", ltx.FormatFilename(2, 2))
	for server, page := range map[string]string{
		"nginx": "<html>\r\n<head><title>Index of /app/ltx/0/</title></head>\r\n<body>\r\n<h1>Index of /app/ltx/0/</h1><hr><pre><a href=\"../\">../</a>\r\n" +
			"<a href=\"sub/\">sub/</a>   28-Nov-2026 20:00       -\r\n<a href=\"FIRST\">FIRST</a>   28-Nov-2026 20:00    1234\r\n" +
			"<a href=\"SECOND\">SECOND</a>   28-Nov-2026 20:01      99\r\n</pre><hr></body>\r\n</html>\r\n",
		"apache": "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 3.2 Final//EN\">\n<html>\n <head>\n  <title>Index of /app/ltx/0</title>\n </head>\n <body>\n<h1>Index of /app/ltx/0</h1>\n" +
			"<ul><li><a href=\"/app/ltx/\"> Parent Directory</a></li>\n<li><a href=\"sub/\"> sub/</a></li>\n<li><a href=\"FIRST\"> FIRST</a></li>\n" +
			"<li><a href=\"SECOND\"> SECOND</a></li>\n</ul>\n</body></html>\n",
		"apache with a table": "<html>\n <head>\n  <title>Index of /app/ltx/0</title>\n </head>\n <body>\n<h1>Index of /app/ltx/0</h1>\n  <table>\n" +
			"   <tr><th valign=\"top\">&nbsp;</th><th><a href=\"?C=N;O=D\">Name</a></th></tr>\n   <tr><th colspan=\"5\"><hr></th></tr>\n" +
			"<tr><td>&nbsp;</td><td><a href=\"sub/\">sub/</a></td><td align=\"right\">2026-11-28 20:00  </td></tr>\n<tr><td>&nbsp;</td><td><a href=\"FIRST\">FIRST</a></td></tr>\n" +
			"<tr><td>&nbsp;</td><td><a href=\"SECOND\">SECOND</a></td></tr>\n   <tr><th colspan=\"5\"><hr></th></tr>\n</table>\n" +
			"<address>Apache/2.4.62 (Debian) Server at example.com Port 443</address>\n</body></html>\n",
		"lighttpd": "<!DOCTYPE html>\n<html>\n<head>\n<title>Index of /app/ltx/0/</title>\n</head>\n<body>\n<h2>Index of /app/ltx/0/</h2>\n<div class=\"list\">\n<table>\n<tbody>\n" +
			"<tr class=\"d\"><td class=\"n\"><a href=\"../\">..</a>/</td></tr>\n<tr class=\"d\"><td class=\"n\"><a href=\"sub/\">sub</a>/</td></tr>\n" +
			"<tr><td class=\"n\"><a href=\"FIRST\">FIRST</a></td></tr>\n<tr><td class=\"n\"><a href=\"SECOND\">SECOND</a></td></tr>\n</tbody>\n</table>\n</div>\n</body>\n</html>\n",
		"caddy": "<!DOCTYPE html>\n<html>\n<body>\n<h1>Folder Path</h1>\n<table>\n<tbody>\n<tr class=\"file\">\n<td>\n<a href=\"./sub/\">\n<span class=\"name\">sub</span>\n</a>\n</td>\n</tr>\n" +
			"<tr class=\"file\">\n<td>\n<a href=\"./FIRST\">FIRST</a>\n</td>\n<td class=\"size\"><div class=\"sizebar\">1 kB</div></td>\n</tr>\n" +
			"<tr class=\"file\">\n<td>\n<a href=\"./SECOND\">SECOND</a>\n</td>\n</tr>\n</tbody>\n</table>\n<footer>Served with <a href=\"https://caddyserver.com\">Caddy</a></footer>\n</body>\n</html>\n",
		"python": "<!DOCTYPE HTML>\n<html lang=\"en\">\n<head>\n<title>Directory listing for /app/ltx/0/</title>\n</head>\n<body>\n<h1>Directory listing for /app/ltx/0/</h1>\n<hr>\n<ul>\n" +
			"<li><a href=\"sub/\">sub/</a></li>\n<li><a href=\"FIRST\">FIRST</a></li>\n<li><a href=\"SECOND\">SECOND</a></li>\n</ul>\n<hr>\n</body>\n</html>\n",
		"go": "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n<a href=\"FIRST\">FIRST</a>\n<a href=\"SECOND\">SECOND</a>\n<a href=\"sub/\">sub/</a>\n</pre>\n",
	} {
		body := []byte(names.Replace(page))
		const all = 3
		if entries, whole, ok := parseHTML(&document{url: folder, body: body}); !ok || !whole || len(entries) != all {
			t.Errorf("%s: %d names, whole is %v, ok is %v", server, len(entries), whole, ok)
		}
		for n := range body {
			if entries, whole, ok := parseHTML(&document{url: folder, body: body[:n]}); ok && whole && len(entries) != all {
				t.Errorf("%s, %d bytes: %d names are whole", server, n, len(entries))
				break
			}
		}
	}
}
