'use strict';

const assert = require('node:assert/strict');
const { describe, it } = require('node:test');

const litestream = require('@ltxvfs/litestream-vfs');
const adapters = require('./adapters.js');
const { latest, sandwiches } = require('./helper.js');
const { runWorkers } = require('./workers.js');

const adapter = adapters['node:sqlite'];

describe('node:sqlite', { skip: adapter.skip, concurrency: false }, () => {
  require('./suite.js')('node:sqlite');

  require('./uris.js')('node:sqlite');

  it('has the extension for itself', { skip: adapters['better-sqlite3'].skip }, () => {
    const other = adapters['better-sqlite3'].memory();
    assert.throws(() => litestream.load(other.db), /another SQLite library in this process has loaded the extension/);
    other.close();
  });

  describe('workers', () => {
    it('read, each with connections of its own', async () => {
      const url = sandwiches();
      const db = adapter.open(url);
      await runWorkers('node:sqlite', url);
      assert.equal(db.get('SELECT count(*) FROM sandwich_ratings'), latest.tables.sandwich_ratings.rows);
      db.close();
    });
  });
});
