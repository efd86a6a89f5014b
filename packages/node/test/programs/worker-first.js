'use strict';
// A worker loads the extension, reads and is gone before the main thread does so. With "kept", the
// main thread has used SQLite before.

const { Worker, isMainThread, parentPort } = require('node:worker_threads');

const Database = require('better-sqlite3');
const litestream = require('@ltxvfs/litestream-vfs');

const url = process.argv[2];

function count() {
  const db = litestream.open(Database, url);
  const { n } = db.prepare('SELECT count(*) AS n FROM sandwich_ratings').get();
  db.close();
  return n;
}

if (isMainThread) {
  if (process.argv[3] === 'kept') new Database(':memory:');
  const worker = new Worker(__filename, { argv: [url] });
  let got;
  worker.on('message', (n) => (got = n));
  worker.on('exit', () => console.log(JSON.stringify({ worker: got, main: count() })));
} else {
  parentPort.postMessage(count());
}
