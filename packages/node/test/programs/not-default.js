'use strict';
// Opens a replica where the extension was loaded in another way before.

const fs = require('node:fs');

const Database = require('better-sqlite3');
const litestream = require('@ltxvfs/litestream-vfs');

litestream.load(new Database(':memory:'));
const before = fs.readdirSync('/');
let error;
try {
  litestream.open(Database, process.argv[2]);
} catch (err) {
  error = err.message;
}
console.log(JSON.stringify({ error, files: fs.readdirSync('/').filter((name) => !before.includes(name)) }));
