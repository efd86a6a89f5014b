'use strict';
// A connection for another process: a request a line, {"open": url, "options": {...}}, {"local": file} or
// {"sql": "..."}, and a line back. It ends with its input.

const readline = require('node:readline');

const adapter = require('../adapters.js')[process.argv[2]];
let db;

function answer(request) {
  if (request.open) {
    db = adapter.open(request.open, request.options);
  } else if (request.local) {
    db = adapter.local(request.local);
  } else if (/^(SELECT|PRAGMA)/.test(request.sql)) {
    return db.all(request.sql);
  } else {
    db.exec(request.sql);
  }
  return [];
}

const lines = readline.createInterface({ input: process.stdin });
lines.on('line', (line) => {
  let reply;
  try {
    reply = { rows: answer(JSON.parse(line)) };
  } catch (err) {
    reply = { error: err.message };
  }
  process.stdout.write(JSON.stringify(reply) + '\n');
});
lines.on('close', () => db?.close());
