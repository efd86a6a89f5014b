'use strict';
// The tests of SQLite packages whose names can be URIs.

const assert = require('node:assert/strict');
const { describe, it } = require('node:test');

const litestream = require('@ltxvfs/litestream-vfs');
const adapters = require('./adapters.js');
const { manifest, sandwiches, stores } = require('./helper.js');

function uris(name) {
  const adapter = adapters[name];

  describe('uri', () => {
    it('opens several replicas', () => {
      const sizes = { write_enabled: true, sync_interval: '-1s', close_timeout: '10s' };
      const dbs = [1, 2, 3].map((n) => {
        const db = adapter.open(stores[0].url() + '/app.db', sizes);
        db.exec(`CREATE TABLE t AS SELECT ${n} AS x`);
        return db;
      });
      assert.deepEqual(dbs.map((db) => db.get('SELECT x FROM t')), [1, 2, 3]);
      assert.deepEqual(dbs.map((db) => db.get('SELECT litestream_sync()')), Array(3).fill('0000000000000001'));
      for (const db of dbs) db.close();
    });

    it('can be attached, to compare now with then', () => {
      const url = sandwiches();
      const db = adapter.open(url);
      db.exec(`ATTACH '${litestream.uri(url)}' AS past`);
      db.exec("PRAGMA past.litestream_time = '2026-03-14 11:59:49'");
      const stars = (schema) => db.get(`SELECT round(avg(stars), 2) FROM ${schema}.sandwich_ratings`);
      assert.deepEqual([stars('main'), stars('past')], [1, 2.99]);
      assert.equal(db.get('PRAGMA main.litestream_txid'), manifest.txid);
      db.close();
    });

    it('keeps names that mean something to a URI', () => {
      const url = stores[0].url() + "/a'b c?d&e#f%41";
      const encoded = url.replace(/[?#%]/g, encodeURIComponent);
      const db = adapter.open(encoded, { write_enabled: true });
      db.exec('CREATE TABLE t AS SELECT 1 AS x');
      db.close();
      const again = adapter.open(encoded);
      again.exec(`ATTACH '${litestream.uri(encoded)}' AS other`);
      assert.equal(again.get('SELECT x FROM other.t'), 1);
      again.close();
    });
  });
}

module.exports = uris;
