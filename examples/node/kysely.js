'use strict';
// A to-do list on object storage, with Kysely. todo-cli.js has the commands.

const litestream = require('@ltxvfs/litestream-vfs');
const Database = require('better-sqlite3');
const { Kysely, SqliteDialect, sql } = require('kysely');

const { url, isWriter, run } = require('./todo-cli.js');

const db = new Kysely({
  dialect: new SqliteDialect({
    database: async () => litestream.open(Database, url, { write_enabled: isWriter }),
  }),
});

run({
  titles: async () => (await db.selectFrom('todos').select('title').orderBy('id').execute()).map(({ title }) => title),
  add: async (title) => {
    await db.schema.createTable('todos').ifNotExists()
      .addColumn('id', 'integer', (column) => column.primaryKey())
      .addColumn('title', 'text', (column) => column.notNull())
      .execute();
    await db.insertInto('todos').values({ title }).execute();
    const { rows: [{ txid }] } = await sql`SELECT litestream_sync() AS txid`.execute(db);
    return txid;
  },
  wait: (txid) => sql`SELECT litestream_wait(${txid}, 10)`.execute(db),
  close: () => db.destroy(),
});
