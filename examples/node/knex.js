'use strict';
// A to-do list on object storage, with Knex. todo-cli.js has the commands.

const litestream = require('@ltxvfs/litestream-vfs');
const Database = require('better-sqlite3');
const Knex = require('knex');

const { url, isWriter, run } = require('./todo-cli.js');

litestream.load(Database); // names can be those of uri then

const knex = Knex({
  client: 'better-sqlite3',
  connection: { filename: litestream.uri(url, { write_enabled: isWriter }) },
  useNullAsDefault: true,
});

run({
  titles: () => knex('todos').orderBy('id').pluck('title'),
  add: async (title) => {
    if (!(await knex.schema.hasTable('todos'))) {
      await knex.schema.createTable('todos', (table) => {
        table.increments('id');
        table.text('title').notNullable();
      });
    }
    await knex('todos').insert({ title });
    const [{ txid }] = await knex.raw('SELECT litestream_sync() AS txid');
    return txid;
  },
  wait: (txid) => knex.raw('SELECT litestream_wait(?, 10)', [txid]),
  close: () => knex.destroy(),
});
