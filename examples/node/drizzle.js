'use strict';
// A to-do list on object storage, with Drizzle. todo-cli.js has the commands.

const litestream = require('@ltxvfs/litestream-vfs');
const Database = require('better-sqlite3');
const { asc, sql } = require('drizzle-orm');
const { drizzle } = require('drizzle-orm/better-sqlite3');
const { integer, sqliteTable, text } = require('drizzle-orm/sqlite-core');

const { url, isWriter, run } = require('./todo-cli.js');

const client = litestream.open(Database, url, { write_enabled: isWriter });
const db = drizzle({ client });

const todos = sqliteTable('todos', {
  id: integer().primaryKey(),
  title: text().notNull(),
});

run({
  titles: () => db.select().from(todos).orderBy(asc(todos.id)).all().map(({ title }) => title),
  add: (title) => {
    db.run(sql`CREATE TABLE IF NOT EXISTS todos (id INTEGER PRIMARY KEY, title TEXT NOT NULL)`);
    db.insert(todos).values({ title }).run();
    return db.get(sql`SELECT litestream_sync() AS txid`).txid;
  },
  wait: (txid) => db.get(sql`SELECT litestream_wait(${txid}, 10)`),
  close: () => client.close(),
});
