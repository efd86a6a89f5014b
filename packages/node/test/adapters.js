'use strict';
// The two SQLite packages, made alike.

const litestream = require('@ltxvfs/litestream-vfs');

function tryRequire(name, why) {
  try {
    return [require(name), false];
  } catch (err) {
    if (err.code !== 'MODULE_NOT_FOUND' && err.code !== 'ERR_UNKNOWN_BUILTIN_MODULE') throw err;
    return [undefined, `there is no ${name} for ${process.execPath} ${process.version}: ${why}`];
  }
}

const wrap = (db) => ({
  db,
  all: (sql, ...args) => db.prepare(sql).all(...args),
  get: (sql, ...args) => Object.values(db.prepare(sql).get(...args))[0],
  exec: (sql) => db.exec(sql),
  close: () => db.close(),
});

const [Database, noDatabase] = tryRequire('better-sqlite3', 'set LITESTREAM_TEST_NODE_MODULES, see scripts/clients');
const [sqlite, noSqlite] = tryRequire('node:sqlite', 'Node.js 22.13 has it, set LITESTREAM_TEST_NODE22');

module.exports = {
  'better-sqlite3': {
    skip: noDatabase,
    memory: () => wrap(new Database(':memory:')),
    local: (file) => wrap(new Database(file)),
    open: (url, options, readonly = false) => wrap(litestream.open(Database, url, options, { readonly })),
  },
  'node:sqlite': {
    skip: noSqlite,
    memory: () => wrap(new sqlite.DatabaseSync(':memory:', { allowExtension: true })),
    local: (file, allowExtension = false) => wrap(new sqlite.DatabaseSync(file, { allowExtension })),
    open: (url, options, readOnly = false) => {
      litestream.load(sqlite.DatabaseSync);
      return wrap(new sqlite.DatabaseSync(litestream.uri(url, options), { readOnly, allowExtension: true }));
    },
  },
};
