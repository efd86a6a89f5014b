// Package survey recognises what lies at the place of a replica that has no LTX
// files, and says it in words. It does no I/O.
package survey

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

// Kind is a kind of things that lie at the place of a replica.
type Kind int

// The kinds. A new database may begin at a place of the first three.
const (
	Nothing     Kind = iota // neither files nor folders
	Other                   // files and folders that have nothing to do with replicas, or folders of this replica without LTX files
	File                    // a file that is no SQLite database
	Database                // a SQLite database
	Layout                  // a replica in the layout of another store
	V3                      // a replica of Litestream v0.3
	Parent                  // folders that are replicas
	LTXFolder               // the folder ltx of a replica
	LevelFolder             // the folder of one level of a replica
)

// IsTaken reports whether no new database may begin at the place.
func (k Kind) IsTaken() bool { return k >= Database }

// Place is what lies at a place.
type Place struct {
	replica.Survey

	// Folders has the names in folders of the place, as far as they are known.
	Folders map[string][]string
}

// maxFolders is the number of folders that are looked into.
const maxFolders = 16

// Folders returns the folders of a place whose names Describe needs, at most 16.
// Folders with names that replicas use come first. Some stores have names that are
// no names of folders, such as "..": they are not among them.
func Folders(s replica.Survey) []string {
	var known, others []string
	for _, name := range s.Names {
		switch {
		case !IsFolder(name) || isOwn(s, name):
		case isOfReplica(name) || isDecimalLevel(name):
			known = append(known, name)
		default:
			others = append(others, name)
		}
	}
	all := append(known, others...)
	return all[:min(len(all), maxFolders)]
}

// IsFolder reports whether a name of a Survey is that of a folder. Object stores can
// have objects below "../", which a URL or a file system takes for another place.
func IsFolder(name string) bool { return name != "" && clientio.CheckDir(name) == nil }

// kind returns the kind of a place. found are the names that decide.
func (p Place) kind() (k Kind, found []string) {
	if slices.ContainsFunc(p.Names, isLTXFile) {
		return LevelFolder, nil
	}
	var replicas []string
	for _, name := range p.Names {
		below, looked := p.Folders[name]
		switch {
		case !looked || isOwn(p.Survey, name):
		case name == "generations/" && slices.ContainsFunc(below, isGeneration):
			return V3, nil
		case isHexLevel(name) && slices.ContainsFunc(below, isLTXFile):
			return Layout, []string{name}
		case name == "ltx/" && slices.ContainsFunc(below, isDecimalLevel):
			level := below[slices.IndexFunc(below, isDecimalLevel)]
			return Layout, []string{name + level}
		case isDecimalLevel(name) && slices.ContainsFunc(below, isLTXFile):
			return LTXFolder, nil
		case slices.ContainsFunc(below, isOfReplica):
			replicas = append(replicas, name)
		}
	}
	switch {
	case len(replicas) > 0:
		return Parent, replicas
	case string(p.Head) == "SQLite format 3\x00":
		return Database, nil
	case len(p.Names) > 0:
		return Other, p.Names
	case p.Head != nil:
		return File, nil
	}
	return Nothing, nil
}

// Describe returns the kind of a place, and a clause that says what lies there.
// where is the URL of the place, without secrets. With named, the text around the
// clause names the place already.
func Describe(where string, named bool, p Place) (Kind, string) {
	k, found := p.kind()
	subject := where
	if named {
		subject = "it"
	}
	switch k {
	case Other:
		return k, subject + " has no LTX files, but " + list(found, p.More)
	case File:
		return k, subject + " is a file, but no SQLite database"
	case Database:
		return k, subject + " is a SQLite database and not a replica: open it as a local file, or replicate it and open the replica"
	case Layout:
		text := subject + " has a replica in the layout of another kind of store, with the folder " + found[0]
		if p.LevelDir != "" {
			text += " instead of folders like " + p.LevelDir
		}
		return k, text + ": copy its files to the folders of this layout"
	case V3:
		return k, subject + " has a replica of Litestream v0.3 (generations/), which cannot be opened: replicate the database with Litestream v0.5"
	case Parent:
		if len(found) == 1 && !p.More {
			return k, subject + " is the parent of a replica: open " + child(where, found[0])
		}
		return k, subject + " is the parent of replicas: open one of " + list(found, p.More)
	case LTXFolder:
		return k, subject + " is the folder ltx of a replica: open " + parent(where, 1)
	case LevelFolder:
		return k, subject + " is the folder of one level of a replica: open " + replicaOfLevel(where)
	}
	if named {
		return k, "nothing lies there"
	}
	return k, "nothing lies at " + where
}

// list lists up to five names.
func list(names []string, more bool) string {
	const most = 5
	shown := make([]string, min(len(names), most))
	for i := range shown {
		shown[i] = quote(names[i])
	}
	text := strings.Join(shown, ", ")
	switch rest := len(names) - len(shown); {
	case more:
		text += " and more"
	case rest > 0:
		text += " and " + strconv.Itoa(rest) + " more"
	}
	return text
}

// plain matches the names that need no quotes.
var plain = regexp.MustCompile(`^[\pL\pN._@/=+~-]+$`)

func quote(name string) string {
	if plain.MatchString(name) {
		return name
	}
	return strconv.Quote(name)
}

// child returns the place of a folder.
func child(where, name string) string {
	base, parameters := cutParameters(where)
	return strings.TrimSuffix(base, "/") + "/" + quote(strings.TrimSuffix(name, "/")) + parameters
}

// parent returns the place that is n folders above.
func parent(where string, n int) string {
	base, parameters := cutParameters(where)
	for range n {
		i := strings.LastIndexByte(base, '/')
		if i < 0 || strings.HasSuffix(base[:i+1], "//") {
			return "the folder above it"
		}
		base = base[:i]
	}
	return base + parameters
}

// replicaOfLevel returns the place of the replica of which where is a level.
func replicaOfLevel(where string) string {
	base, _ := cutParameters(where)
	names := strings.Split(base, "/")
	switch last := len(names) - 1; {
	case isHexLevel(names[last] + "/"):
		return parent(where, 1)
	case last > 0 && isDecimalLevel(names[last]+"/") && names[last-1] == "ltx":
		return parent(where, 2)
	}
	return "the folder that has all levels"
}

// cutParameters cuts a URL before its parameters.
func cutParameters(where string) (base, parameters string) {
	base, parameters, ok := strings.Cut(where, "?")
	if ok {
		parameters = "?" + parameters
	}
	return base, parameters
}

// isOwn reports whether the client keeps LTX files in a folder of that name.
func isOwn(s replica.Survey, name string) bool {
	own, _, _ := strings.Cut(s.LevelDir, "/")
	return name == own+"/" || isHexLevel(own+"/") && isHexLevel(name)
}

// isOfReplica reports whether a folder has a name that those of replicas have.
func isOfReplica(name string) bool {
	return name == "ltx/" || name == "generations/" || isHexLevel(name)
}

func isLTXFile(name string) bool {
	_, _, ok := clientio.ParseName(name)
	return ok
}

func isHexLevel(name string) bool {
	return len(name) == 5 && name[:3] == "000" && isDecimalLevel(name[3:])
}

func isDecimalLevel(name string) bool {
	return len(name) == 2 && name[0] >= '0' && name[0] <= '9' && name[1] == '/'
}

// isGeneration reports whether a folder has the name of a generation of
// Litestream v0.3.
func isGeneration(name string) bool {
	_, err := strconv.ParseUint(strings.TrimSuffix(name, "/"), 16, 64)
	return err == nil && len(name) == 17 && name[16] == '/'
}
