'use strict';

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { describe, it } = require('node:test');

const litestream = require('@ltxvfs/litestream-vfs');
const adapters = require('./adapters.js');
const { latest, sandwiches, tempPath } = require('./helper.js');
const { runWorkers } = require('./workers.js');

const adapter = adapters['better-sqlite3'];

describe('better-sqlite3', { skip: adapter.skip, concurrency: false }, () => {
  require('./suite.js')('better-sqlite3');
  require('./uris.js')('better-sqlite3');

  it('opens names of uri', () => {
    const db = adapter.local(litestream.uri(sandwiches()));
    assert.equal(db.get('SELECT count(*) FROM sandwich_ratings'), latest.tables.sandwich_ratings.rows);
    db.close();
  });

  it('makes no file where there is no replica', () => {
    const dir = tempPath();
    fs.mkdirSync(dir);
    const program = `
      const litestream = require('@ltxvfs/litestream-vfs');
      try { litestream.open(require('better-sqlite3'), 'file:///nosuch/replica', { wait_for_replica: '0' }); } catch (err) { console.log(err.message); }`;
    const got = execFileSync(process.execPath, ['-e', program], { cwd: dir, encoding: 'utf8', timeout: 20_000 });
    assert.match(got, /replica holds no database/);
    assert.deepEqual(fs.readdirSync(dir), []);
  });

  it('leaves the environment as it was', () => {
    assert.equal(process.env.SQLITE_USE_URI, undefined);
    assert.equal(process.env.LITESTREAM_REPLICA_URL, undefined);
  });

  it('is read by workers, each with connections of its own', async () => {
    const url = sandwiches();
    const db = adapter.open(url);
    await runWorkers('better-sqlite3', url);
    assert.equal(db.get('SELECT count(*) FROM sandwich_ratings'), latest.tables.sandwich_ratings.rows);
    db.close();
  });

  // With the last worker that uses it, Node.js unloads better-sqlite3 13, and SQLite with it.
  it('may be used by a worker first', () => {
    const program = path.join(__dirname, 'programs', 'worker-first.js');
    const env = { ...process.env, SQLITE_USE_URI: '1' };
    const got = execFileSync(process.execPath, [program, sandwiches()], { env, encoding: 'utf8', timeout: 20_000 });
    const { rows } = latest.tables.sandwich_ratings;
    assert.deepEqual(JSON.parse(got), { worker: rows, main: rows });
  });
});
