'use strict';
// Runs the requests of a causes.Child with the npm package, which is the argument, and
// node:sqlite.

const readline = require('node:readline');
const { DatabaseSync } = require('node:sqlite');
const litestream = require(process.argv[2]);

const memory = new DatabaseSync(':memory:', { allowExtension: true });
litestream.load(memory);
memory.close();

const connections = new Map();

function answer({ op, conn, url, options, statement }) {
  if (op === 'open') {
    connections.set(conn, new DatabaseSync(litestream.uri(url, options)));
    return {};
  }
  const db = connections.get(conn);
  if (op === 'close') {
    db.close();
    return {};
  }
  try {
    const row = db.prepare(statement).get();
    return op === 'query' ? { value: String(Object.values(row)[0]) } : {};
  } catch (err) {
    const last = litestream.lastError(db);
    const more = last !== undefined && !err.message.includes(last) ? `: ${last}` : '';
    return { error: err.message + more };
  }
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  let reply;
  try {
    reply = answer(JSON.parse(line));
  } catch (err) {
    reply = { error: err.message };
  }
  process.stdout.write(JSON.stringify(reply) + '\n');
});
