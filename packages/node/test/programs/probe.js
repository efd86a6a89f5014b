'use strict';
// Loads the class where the extension is the default VFS and names are no URIs, and then
// opens the replica that the environment names, in a directory.

const fs = require('node:fs');

const Database = require('better-sqlite3');
const litestream = require('@ltxvfs/litestream-vfs');

process.chdir(process.argv[2]);
litestream.load(new Database(':memory:'));
let error;
try {
  litestream.load(Database);
} catch (err) {
  error = err.message;
}
const db = new Database('app.db');
const replica = litestream.isReplica(db);
db.close();
console.log(JSON.stringify({ error, replica, files: fs.readdirSync('.') }));
