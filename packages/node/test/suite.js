'use strict';
// The tests of both SQLite packages.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const { describe, it } = require('node:test');

const litestream = require('@ltxvfs/litestream-vfs');
const adapters = require('./adapters.js');
const { Program, deadPort, eventually, latest, manifest, sandwiches, stores, tables, tempPath } = require('./helper.js');

function suite(name) {
  const adapter = adapters[name];

  // using opens a replica for f, which is all that is open meanwhile.
  async function using(url, options, f, readonly) {
    const db = adapter.open(url, options, readonly);
    try {
      return await f(db);
    } finally {
      db.close();
    }
  }

  async function withProgram(f) {
    const program = new Program(name);
    let result;
    try {
      result = await f(program);
    } catch (err) {
      program.process.kill();
      throw err;
    }
    await program.end();
    return result;
  }

  describe('reading', () => {
    it('finds every row of the newest transaction', () => using(sandwiches(), {}, (db) => {
      assert.deepEqual(tables(db), latest.tables);
      assert.equal(db.get('PRAGMA integrity_check'), 'ok');
      assert.equal(db.get('SELECT litestream_txid()'), manifest.txid);
      assert.equal(db.get('PRAGMA litestream_txid'), manifest.txid);
    }));

    it('shows several connections the same', () => {
      const url = sandwiches();
      return using(url, {}, (a) => using(url, {}, (b) => {
        assert.deepEqual(tables(a), latest.tables);
        assert.deepEqual(tables(b), latest.tables);
      }));
    });

    it('loads as often as it is asked to', () => using(sandwiches(), {}, (db) => {
      const memory = adapter.memory();
      litestream.load(memory.db);
      litestream.load(memory.db);
      const other = adapter.memory();
      litestream.load(other.db);
      assert.throws(() => other.get('SELECT litestream_txid()'), { message: 'the main database is not served by litestream' });
      memory.close();
      other.close();
      assert.equal(db.get('SELECT count(*) FROM sandwich_ratings'), latest.tables.sandwich_ratings.rows);
    }));
  });

  describe('time travel', () => {
    it('goes to every time, by function', () => using(sandwiches(), {}, (db) => {
      for (const { time, at_or_before_txid: txid } of manifest.times) {
        if (!txid) {
          assert.throws(() => db.get('SELECT litestream_set_time(?)', time), /transaction not available/, time);
          continue;
        }
        const got = db.get('SELECT litestream_set_time(?)', time);
        assert.equal(db.get('SELECT litestream_txid()'), txid, time);
        assert.equal(db.get('SELECT litestream_time()'), got);
        assert.ok(got <= time, `${got} is after ${time}`);
      }
    }));

    it('goes to transactions, by PRAGMA, each connection for itself', () => {
      const url = sandwiches();
      return using(url, {}, (past) => using(url, {}, (now) => {
        for (const point of manifest.points.filter((p, i) => i % 8 === 0)) {
          past.exec(`PRAGMA litestream_txid = '${point.txid}'`);
          assert.deepEqual(tables(past), point.tables, point.txid);
        }
        assert.deepEqual(tables(now), latest.tables);
        past.exec("PRAGMA litestream_time = 'latest'");
        assert.deepEqual(tables(past), latest.tables);
      }));
    });

    it('tells what has changed', () => using(sandwiches(), {}, (db) => {
      const query = "SELECT kind, rowid, old, new FROM litestream_changes('events', '0000000000000041')";
      const rows = db.all(query).map((row) => [row.kind, row.rowid, row.old, JSON.parse(row.new).kind]);
      assert.deepEqual(rows, [66, 67, 68, 69].map((id) => ['insert', id, null, 'report']));
      for (const row of db.db.prepare(query).iterate()) {
        assert.equal(row.rowid, 66);
        break; // in the middle
      }
      assert.equal(db.get("SELECT count(*) FROM litestream_changes(NULL, '2026-03-14 11:59:49') WHERE kind = 'update'"), 3994);
      assert.throws(() => db.all("SELECT * FROM litestream_changes('none', 'latest')"), /litestream_changes: no such table: none/);
      assert.throws(() => db.all("SELECT * FROM litestream_changes('events', 'yesteryear')"), /"yesteryear" is neither a transaction/);
    }));

    it('says what is wrong with a time', () => using(sandwiches(), {}, (db) => {
      const unknown = /parse time "yesteryear": unknown form; try/;
      assert.throws(() => db.get("SELECT litestream_set_time('yesteryear')"), unknown);
      assert.throws(() => db.exec("PRAGMA litestream_time = 'yesteryear'"), unknown);
      for (const txid of manifest.unavailable_txids) {
        assert.throws(() => db.exec(`PRAGMA litestream_txid = '${txid}'`), /transaction not available/);
      }
      assert.deepEqual(tables(db), latest.tables);
    }));
  });

  for (const store of stores) {
    describe(`replica on ${store.name}`, { skip: store.skip }, () => {
      it('is written here and read in another process', async () => {
        const url = store.url();
        await using(url, { write_enabled: true, sync_interval: '-1s', buffer_path: tempPath('buffer') }, async (db) => {
          db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)');
          db.exec("BEGIN; INSERT INTO t (text) VALUES ('one'), ('two'), ('three'); COMMIT");
          const before = db.get('SELECT litestream_sync()');
          assert.equal(before, '0000000000000001');
          db.exec("UPDATE t SET text = 'gone'");
          assert.equal(db.get('SELECT litestream_sync()'), '0000000000000002');

          await withProgram(async (program) => {
            await program.ask({ open: url, options: { poll_interval: '50ms' } });
            const rows = await program.ask({ sql: 'SELECT text, litestream_txid() AS txid FROM t' });
            assert.deepEqual(rows, ['gone', 'gone', 'gone'].map((text) => ({ text, txid: '0000000000000002' })));
            await program.ask({ sql: `SELECT litestream_set_txid('${before}')` });
            assert.deepEqual(await program.ask({ sql: 'SELECT text FROM t' }), [{ text: 'one' }, { text: 'two' }, { text: 'three' }]);
            await assert.rejects(program.ask({ sql: 'DELETE FROM t' }), /readonly database/);
          });
        });
      });

      it('is followed as another process writes', async () => {
        const url = store.url();
        await withProgram(async (program) => {
          await program.ask({ open: url, options: { write_enabled: true, sync_interval: '50ms' } });
          await program.ask({ sql: 'CREATE TABLE t (x)' });
          await program.ask({ sql: 'SELECT litestream_sync()' });
          await using(url, { poll_interval: '50ms' }, async (db) => {
            const count = db.db.prepare('SELECT count(*) AS n, sum(x) AS sum FROM t');
            for (let i = 1; i <= 5; i++) {
              await program.ask({ sql: `INSERT INTO t VALUES (${i})` });
              await eventually(i, () => count.get().n);
              assert.equal(count.get().sum, (i * (i + 1)) / 2);
            }
            assert.ok(db.get('SELECT litestream_lag()') <= 5);
          });
        });
      });
    });
  }

  describe('hydration', () => {
    it('brings the database to a local file', async () => {
      const file = tempPath('hydrated.db');
      await using(sandwiches(), { hydration_enabled: true, hydration_path: file }, async (db) => {
        await eventually('complete', () => db.get('SELECT litestream_hydration_status()'));
        assert.equal(db.get('SELECT litestream_hydration_progress()'), 100);
        assert.equal(db.get('SELECT litestream_hydration_file()'), file);
        assert.deepEqual(tables(db), latest.tables);
      });
      await withProgram(async (program) => {
        await program.ask({ local: file });
        const [{ n }] = await program.ask({ sql: 'SELECT count(*) AS n FROM sandwich_ratings' });
        assert.equal(n, latest.tables.sandwich_ratings.rows);
      });
    });
  });

  describe('waitForHydration', () => {
    it('tells how far it has come', () => using(sandwiches(), { hydration_enabled: true, hydration_rate_limit: '200KB' }, async (db) => {
      const seen = [];
      const last = await litestream.waitForHydration(db.db, (progress) => seen.push(progress), { interval: 5 });
      assert.deepEqual([last.status, last.progress, last.pages], ['complete', 100, last.total_pages]);
      assert.deepEqual(seen.at(-1), last);
      const percents = seen.map(({ progress }) => progress);
      assert.deepEqual(percents, [...percents].sort((a, b) => a - b));
      await litestream.waitForHydration(db.db);
    }));

    it('says that hydration has failed', async () => {
      const file = tempPath('not-ours');
      fs.writeFileSync(file, 'of the user');
      await using(sandwiches(), { hydration_enabled: true, hydration_path: file }, (db) =>
        assert.rejects(litestream.waitForHydration(db.db), /hydration failed: .*not-ours/));
    });

    it('wants hydration, and a replica', async () => {
      await using(sandwiches(), {}, (db) =>
        assert.rejects(litestream.waitForHydration(db.db), { message: 'hydration is not enabled, set the option hydration_enabled' }));
      const memory = adapter.memory();
      await assert.rejects(litestream.waitForHydration(memory.db), { message: 'the main database is a local file, and no replica that could be hydrated' });
      memory.close();
    });
  });

  describe('a local file that was meant to be a replica', () => {
    // warnings returns the warnings of a load of the extension by a connection.
    const warnings = async (db) => {
      const seen = [];
      const note = (warning) => seen.push(warning);
      process.on('warning', note);
      litestream.load(db);
      await new Promise(setImmediate);
      process.off('warning', note);
      return seen.filter(({ name }) => name === 'LocalFileWarning').map(({ message }) => message);
    };

    it('is a warning', async () => {
      const file = tempPath('app.db');
      const db = adapter.local(file, true);
      assert.deepEqual(await warnings(db.db), []);
      process.env.LITESTREAM_REPLICA_URL = 's3://bucket/app.db';
      try {
        assert.deepEqual(await warnings(db.db), [`${file} is a local file, not the replica of LITESTREAM_REPLICA_URL: it was open before the extension was loaded`]);
      } finally {
        delete process.env.LITESTREAM_REPLICA_URL;
      }
      assert.equal(litestream.isReplica(db.db), false);
      db.close();
    });

    it('is shown without the parameters of a URI that was not read as one', async () => {
      const file = tempPath('app.db?replica_url=sftp%3A%2F%2Fu%3Asecret%40h');
      const db = adapter.local(file, true);
      process.env.LITESTREAM_REPLICA_URL = 's3://bucket/app.db';
      try {
        const [text] = await warnings(db.db);
        assert.ok(text.startsWith(`${file.slice(0, file.indexOf('?'))}?... is a local file`), text);
      } finally {
        delete process.env.LITESTREAM_REPLICA_URL;
      }
      db.close();
    });

    it('is not what open gives', () => using(sandwiches(), {}, async (db) => {
      assert.equal(litestream.isReplica(db.db), true);
      assert.deepEqual(await warnings(db.db), []);
    }));
  });

  describe('local files', () => {
    it('are SQLite\'s own, in WAL mode too', async () => {
      const file = tempPath('local.db');
      fs.writeFileSync(file, '');
      await using(sandwiches(), {}, async (replica) => {
        const db = adapter.local(file);
        assert.equal(db.get('PRAGMA journal_mode = WAL'), 'wal');
        db.exec('CREATE TABLE t (x); INSERT INTO t VALUES (1), (2)');
        assert.ok(fs.statSync(file + '-wal').size > 0);
        await withProgram(async (program) => {
          await program.ask({ local: file });
          assert.deepEqual(await program.ask({ sql: 'SELECT sum(x) AS sum FROM t' }), [{ sum: 3 }]);
          await program.ask({ sql: 'INSERT INTO t VALUES (4)' });
          assert.equal(db.get('SELECT sum(x) FROM t'), 7);
          db.exec('BEGIN IMMEDIATE');
          await program.ask({ sql: 'PRAGMA busy_timeout = 0' });
          await assert.rejects(program.ask({ sql: 'INSERT INTO t VALUES (8)' }), { message: 'database is locked' });
          db.exec('ROLLBACK');
        });
        assert.equal(db.get('PRAGMA integrity_check'), 'ok');
        db.close();

        const made = tempPath('made.db');
        const fresh = adapter.local(made);
        fresh.exec('CREATE TABLE t (x)');
        assert.equal(fs.readFileSync(made).toString('latin1', 0, 15), 'SQLite format 3');
        fresh.close();
        assert.equal(replica.get('SELECT litestream_txid()'), manifest.txid);
      });
    });
  });

  describe('errors', () => {
    it('of a URL', () => {
      assert.throws(() => adapter.open('nosuch://bucket/x', {}), /no replica client is registered for url scheme "nosuch"/);
      assert.throws(() => adapter.open('s3://bucket/x?colour=red', {}), /colour/);
    });

    it('of a replica that is not there', () => {
      assert.throws(() => adapter.open('file://' + tempPath('nothing'), { wait_for_replica: '0' }), /replica holds no database/);
    });

    it('of an option', () => {
      assert.throws(() => adapter.open(sandwiches(), { poll_interval: 'soon' }), /invalid duration "soon", want one like 500ms or 1m30s/);
      assert.throws(() => adapter.open(sandwiches(), { pollInterval: '1s' }), { name: 'TypeError', message: 'no option "pollInterval", did you mean "poll_interval"?' });
    });

    it('have their text in lastError', () => using(sandwiches(), {}, (db) => {
      assert.equal(litestream.lastError(db.db), undefined);
      assert.throws(() => db.get("SELECT litestream_set_txid('x')"));
      assert.match(litestream.lastError(db.db), /invalid value: "x" is no transaction id/);
    }));

    it('of a local file are not in lastError', () => {
      for (const db of [adapter.memory(), adapter.local(tempPath('app.db'))]) {
        assert.throws(() => db.get('SELECT * FROM nosuch'), { message: 'no such table: nosuch' });
        assert.equal(litestream.lastError(db.db), undefined);
        db.close();
      }
    });

    it('of storage that is down, in time', async () => {
      const port = await deadPort();
      const start = Date.now();
      assert.throws(
        () => adapter.open(`s3://bucket/x?endpoint=http://127.0.0.1:${port}`, { open_timeout: '1s' }),
        new RegExp(`127\\.0\\.0\\.1:${port}: connect: connection refused`),
      );
      assert.ok(Date.now() - start < 10_000, `it took ${Date.now() - start} ms`);
    });

    it('of writing what is for reading', async () => {
      await using(sandwiches(), {}, (db) => {
        assert.throws(() => db.exec('DELETE FROM sandwich_ratings'), { message: 'attempt to write a readonly database' });
        assert.deepEqual(tables(db), latest.tables);
      });
      await using(sandwiches(), { write_enabled: true }, (db) => {
        assert.throws(() => db.exec('DELETE FROM sandwich_ratings'), { message: 'attempt to write a readonly database' });
      }, true);
    });

    it('of other options than the first open had', () => {
      const url = sandwiches();
      return using(url, {}, () => {
        assert.throws(() => adapter.open(url, { cache_size: '1MiB' }), /options/);
      });
    });
  });
}

module.exports = suite;
