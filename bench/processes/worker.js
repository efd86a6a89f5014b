'use strict';
// Answers queries as worker/main.go does, by better-sqlite3 and the package.

const readline = require('node:readline');
const Database = require('better-sqlite3');
const litestream = require('@ltxvfs/litestream-vfs');

litestream.load(Database);
const dbs = {};

function connection(plain) {
  if (dbs[plain]) return dbs[plain];
  if (plain) {
    dbs[plain] = new Database(process.env.WORKER_PLAIN);
  } else {
    const options = { hydration_enabled: true, poll_interval: process.env.WORKER_POLL };
    if (process.env.WORKER_PATH) options.hydration_path = process.env.WORKER_PATH;
    dbs[plain] = litestream.open(Database, process.env.WORKER_URL, options);
  }
  return dbs[plain];
}

function ask({ Plain: plain, SQL: sql, Keys: keys }) {
  let sum = 0;
  let text = '';
  const db = connection(plain);
  const start = process.hrtime.bigint();
  const statement = db.prepare(sql).pluck();
  for (const args of keys?.length ? keys.map((key) => [key]) : [[]]) {
    const value = statement.get(...args);
    if (typeof value === 'number') sum += value;
    else text = value;
  }
  return { sum, text, seconds: Number(process.hrtime.bigint() - start) / 1e9 };
}

console.log('{}'); // it runs
readline.createInterface({ input: process.stdin }).on('line', (line) => {
  let reply;
  try {
    reply = ask(JSON.parse(line));
  } catch (err) {
    reply = { error: err.message };
  }
  console.log(JSON.stringify(reply));
});
