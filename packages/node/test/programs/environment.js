'use strict';
// Opens the replica that the environment names, and a local file, in a directory.

const fs = require('node:fs');

const Database = require('better-sqlite3');
const litestream = require('@ltxvfs/litestream-vfs');

process.chdir(process.argv[2]);
litestream.load(new Database(':memory:'));
const db = new Database('app.db');
const { rows, txid } = db.prepare('SELECT count(*) AS rows, litestream_txid() AS txid FROM sandwich_ratings').get();
const local = new Database('local.db');
const journal = local.pragma('journal_mode = WAL', { simple: true });
local.exec('CREATE TABLE t (x); INSERT INTO t VALUES (2)');
const got = { rows, txid, journal, local: local.prepare('SELECT x FROM t').get().x };
local.close();
db.close();
console.log(JSON.stringify({ ...got, files: fs.readdirSync('.') }));
