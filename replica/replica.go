// Package replica is the contract between a SQLite database and the store that
// keeps its LTX files. It knows neither SQLite nor the engine, so that a store,
// and the tests of a store, build without both and without cgo.
//
// A store implements [Client], and those of the optional interfaces
// [Initializer], [Identifier], [LTXFileCreator], [LTXFileCopier] and [AllLTXFilesLister] that it
// can. It registers a factory for URLs of its scheme:
//
//	func init() { replica.Register("myscheme", newFromURL) }
//
// Package replicatest checks a store against this contract, package memory is
// the reference implementation, and package decorate adds latency, faults and
// traces to any client. Package litestream has the same types under the names
// ReplicaClient, ReplicaIdentifier and so on; a program that opens databases
// needs only those.
package replica

// SnapshotLevel is the compaction level that holds snapshots: LTX files with
// MinTXID 1 that contain a whole database. It is the highest level.
const SnapshotLevel = 9
