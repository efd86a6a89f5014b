'use strict';
// better-sqlite3 whose names are no URIs, as where another module has used it before:
// the extension is SQLite's default VFS.

process.env.SQLITE_USE_URI = '0';

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { describe, it } = require('node:test');

const litestream = require('@ltxvfs/litestream-vfs');
const adapters = require('./adapters.js');
const { latest, manifest, sandwiches, tempPath } = require('./helper.js');
const { runWorkers } = require('./workers.js');

const adapter = adapters['better-sqlite3'];

describe('better-sqlite3 without URIs', { skip: adapter.skip, concurrency: false }, () => {
  require('./suite.js')('better-sqlite3');

  const program = (name, env, ...args) =>
    JSON.parse(execFileSync(process.execPath, [path.join(__dirname, 'programs', name), ...args], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 20_000,
    }));

  describe('open', () => {
    it('leaves the environment as it was', () => {
      process.env.LITESTREAM_CACHE_SIZE = '5MiB';
      const before = { ...process.env };
      const db = adapter.open(sandwiches(), { cache_size: '1MiB', poll_interval: '2s' });
      assert.deepEqual({ ...process.env }, before);
      db.close();
      assert.throws(() => adapter.open('nosuch://', {}));
      assert.deepEqual({ ...process.env }, before);
      delete process.env.LITESTREAM_CACHE_SIZE;
    });

    it('opens one replica at a time', () => {
      const db = adapter.open(sandwiches(), {});
      const other = sandwiches();
      assert.throws(() => adapter.open(other, {}), /is open with another LITESTREAM_REPLICA_URL/);
      db.close();
      const again = adapter.open(other, {});
      assert.equal(again.get('SELECT litestream_txid()'), manifest.txid);
      again.close();
    });

    it('makes no file where it cannot open the replica', () => {
      const { error, files } = program('not-default.js', {}, sandwiches());
      assert.match(error, /loaded before without LITESTREAM_DEFAULT_VFS=true/);
      assert.deepEqual(files, []);
    });
  });

  it('is refused by load', () => {
    const memory = adapter.memory();
    assert.throws(() => litestream.load(memory.db.constructor), /Database does not take names that are URIs/);
    memory.close();
  });

  describe('environment', () => {
    it('is enough', () => {
      const dir = tempPath();
      fs.mkdirSync(dir);
      const got = program('environment.js', litestream.environment(sandwiches(), { poll_interval: '1h' }), dir);
      assert.deepEqual(got, {
        rows: latest.tables.sandwich_ratings.rows,
        txid: manifest.txid,
        journal: 'wal',
        local: 2,
        files: ['local.db'],
      });
    });

    for (const [files, variables] of [['all', {}], ['none', { LITESTREAM_LOCAL_FILES: 'none' }]]) {
      it(`keeps the replica for the first name after load(Database), local files: ${files}`, () => {
        const dir = tempPath();
        fs.mkdirSync(dir);
        const { error, ...got } = program('probe.js', { ...litestream.environment(sandwiches()), ...variables }, dir);
        assert.match(error, /^Database does not take names that are URIs/);
        assert.deepEqual(got, { replica: true, files: [] });
      });
    }
  });

  describe('workers', () => {
    it('read, each with connections of its own', async () => {
      const url = sandwiches();
      const variables = litestream.environment(url);
      Object.assign(process.env, variables);
      try {
        const db = adapter.open(url);
        await runWorkers('better-sqlite3', url);
        assert.equal(db.get('SELECT count(*) FROM sandwich_ratings'), latest.tables.sandwich_ratings.rows);
        db.close();
      } finally {
        for (const name of Object.keys(variables)) delete process.env[name];
      }
    });

    it('are told what they need', async () => {
      await assert.rejects(runWorkers('better-sqlite3', sandwiches()), /call load\(Database\) in the main thread, or set LITESTREAM_DEFAULT_VFS, LITESTREAM_REPLICA_URL there/);
    });

    const both = { worker: latest.tables.sandwich_ratings.rows, main: latest.tables.sandwich_ratings.rows };

    it('may load it first', () => {
      const url = sandwiches();
      assert.deepEqual(program('worker-first.js', litestream.environment(url), url, 'kept'), both);
    });

    // With the last worker that uses it, Node.js unloads better-sqlite3 13, and SQLite with it.
    it('may be all that use SQLite', () => {
      const url = sandwiches();
      assert.deepEqual(program('worker-first.js', litestream.environment(url), url), both);
    });
  });
});
