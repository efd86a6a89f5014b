// Package webindex is the format of index.json, the list of a replica's files for
// web servers, which cannot list.
//
// The file is a JSON object with two members. The member sha256 is the checksum, in
// hex, of the bytes of the member index as they stand in the file:
//
//	{"index":{"version":1,"published":"2026-01-02T03:04:05.678Z","files":[
//	{"name":"ltx/0/0000000000000001-0000000000000001.ltx","size":1234,"time":"2026-01-02T03:04:05Z"}
//	]},"sha256":"..."}
//
// A name is relative to the folder of index.json. It is ltx/<level>/<file>, as in
// folders and most stores, or <level as 4 hex digits>/<file>, as on S3.
package webindex

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Name is the name of the file, below the place of the replica.
const Name = "index.json"

// Version is the version of the format.
const Version = 1

// Index is the list of a replica's files.
type Index struct {
	Version   int       `json:"version"`
	Published time.Time `json:"published"` // when the files were listed
	Files     []File    `json:"files"`     // in order of level, MinTXID and MaxTXID
}

// File is one file of a replica.
type File struct {
	Name string    `json:"name"`
	Size int64     `json:"size"`
	Time time.Time `json:"time"` // timestamp of the LTX header, as well as it is known
}

// document is the whole of index.json.
type document struct {
	Index  json.RawMessage `json:"index"`
	SHA256 string          `json:"sha256"`
}

// Encode returns the bytes of index.json, with a line for each file.
func Encode(index Index) ([]byte, error) {
	head, err := json.Marshal(struct {
		Version   int       `json:"version"`
		Published time.Time `json:"published"`
	}{Version, index.Published.UTC()})
	if err != nil {
		return nil, fmt.Errorf("encode index: %w", err)
	}
	var b bytes.Buffer
	b.Write(head[:len(head)-1])
	b.WriteString(`,"files":[`)
	for i, file := range index.Files {
		if i > 0 {
			b.WriteByte(',')
		}
		file.Time = file.Time.UTC()
		line, err := json.Marshal(file)
		if err != nil {
			return nil, fmt.Errorf("encode index: %w", err)
		}
		b.WriteByte('\n')
		b.Write(line)
	}
	b.WriteString("\n]}")
	return encodeIndex(b.Bytes()), nil
}

// encodeIndex returns the bytes of index.json, given those of its member index.
func encodeIndex(index []byte) []byte {
	return fmt.Appendf(nil, "{\"index\":%s,\"sha256\":\"%x\"}\n", index, sha256.Sum256(index))
}

// Decode parses and checks the bytes of index.json.
func Decode(b []byte) (Index, error) {
	var doc document
	var index Index
	if err := json.Unmarshal(b, &doc); err != nil {
		return Index{}, fmt.Errorf("no json object, or cut off: %w", err)
	}
	if doc.Index == nil || doc.SHA256 == "" {
		return Index{}, errors.New("no list of LTX files, which has index and sha256")
	}
	sum := sha256.Sum256(doc.Index)
	if hex.EncodeToString(sum[:]) != doc.SHA256 {
		return Index{}, errors.New("checksum is wrong: the file was changed, or is a mixture of two")
	}
	// Only the version is certain to be there in a list of a newer version.
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(doc.Index, &head); err != nil {
		return Index{}, fmt.Errorf("list of files: %w", err)
	}
	if head.Version != Version {
		return Index{}, fmt.Errorf("version is %d, want %d", head.Version, Version)
	}
	if err := json.Unmarshal(doc.Index, &index); err != nil {
		return Index{}, fmt.Errorf("list of files: %w", err)
	}
	for _, file := range index.Files {
		if file.Size < 0 {
			return Index{}, fmt.Errorf("size of %.80q is %d", file.Name, file.Size)
		}
	}
	return index, nil
}
