'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { isMainThread } = require('node:worker_threads');

// The options of a database that a file name or the environment can set.
const optionNames = new Set([
  'poll_interval', 'poll_idle_after', 'cache_size', 'index_size', 'read_ahead_size', 'hedge_requests',
  'open_timeout', 'read_timeout', 'close_timeout', 'wait_for_replica', 'close_delay',
  'hydration_enabled', 'hydration_mode', 'hydration_path', 'offline_after', 'hydration_concurrency', 'hydration_rate_limit',
  'write_enabled', 'sync_interval', 'buffer_path', 'buffer_max_size', 'sync_on_commit',
  'compaction_disabled', 'compaction_levels', 'snapshot_interval', 'snapshot_retention', 'l0_retention',
]);

// The file name of what open opens where names cannot be URIs. No such file must
// exist, but better-sqlite3 wants its directory to.
const openName = '/litestream-vfs.replica';

function getLoadablePath() {
  const target = `${process.platform}-${process.arch}`;
  const file = process.platform === 'darwin' ? 'litestream.dylib' : 'litestream.so';
  const library = path.join(__dirname, 'lib', target, file);
  if (!fs.existsSync(library)) {
    const dir = path.join(__dirname, 'lib');
    const there = fs.existsSync(dir) ? fs.readdirSync(dir).join(', ') : 'nothing';
    throw new Error(`litestream-vfs has no library for ${target}, only ${there}`);
  }
  return library;
}

function load(db) {
  if (typeof db === 'function') {
    loadClass(db);
    return;
  }
  if (typeof db?.loadExtension !== 'function') {
    throw new TypeError('want Database of better-sqlite3 or DatabaseSync of node:sqlite, the class or an object of it');
  }
  db.loadExtension(getLoadablePath());
  warnOfLocalFile(db);
}

// loadClass loads the extension through a connection of the class, which takes
// names that are URIs from then on.
function loadClass(Database) {
  if (!takesURIs(Database)) {
    throw new Error(
      `${Database.name} does not take names that are URIs: better-sqlite3 has to be new enough for SQLITE_USE_URI, ` +
        'and load(Database) comes before the first use of better-sqlite3 in the process, also in its main thread',
    );
  }
  const memory = new Database(':memory:', { allowExtension: true });
  try {
    load(memory);
  } finally {
    memory.close();
  }
}

const classes = new WeakMap(); // whether a class takes URIs

// takesURIs reports whether names may be URIs. better-sqlite3 decides that for the
// process, by a variable, when its addon is loaded. That is its first connection.
function takesURIs(Database) {
  if (!classes.has(Database)) {
    const use = isMainThread ? { SQLITE_USE_URI: process.env.SQLITE_USE_URI ?? '1' } : {};
    classes.set(Database, withEnvironment(use, () => {
      try {
        new Database('file:litestream-vfs?mode=memory', { fileMustExist: true }).close();
        return true;
      } catch (err) {
        if (!isCannotOpen(err)) throw err;
        return false;
      }
    }));
  }
  return classes.get(Database);
}

// isCannotOpen reports whether an error is SQLITE_CANTOPEN. Its text is another one if
// the extension is the default VFS, and refuses the name.
function isCannotOpen(err) {
  return err?.code === 'SQLITE_CANTOPEN' || err?.message === 'unable to open database file';
}

// warnOfLocalFile warns of a connection to a local file where the environment names
// a replica.
function warnOfLocalFile(db) {
  if (!process.env.LITESTREAM_REPLICA_URL) return;
  const { file } = db.prepare("SELECT file FROM pragma_database_list WHERE name = 'main'").get() ?? {};
  if (!file || isReplica(db)) return;
  // Parameters of a URI that was not read as one may contain secrets.
  const shown = file.replace(/\?.*=.*/s, '?...');
  process.emitWarning(
    `${shown} is a local file, not the replica of LITESTREAM_REPLICA_URL: it was open before the extension was loaded`,
    { type: 'LocalFileWarning', detail: 'Open the replica with open(Database, url), or by a name of uri(url) after load(Database).' },
  );
}

// pragma returns the value of a PRAGMA of ours, undefined for a local file. There,
// better-sqlite3 does not take it for a statement that returns rows.
function pragma(db, name) {
  if (typeof db.pragma === 'function') return db.pragma(`main.${name}`, { simple: true });
  return Object.values(db.prepare(`PRAGMA main.${name}`).get() ?? {})[0];
}

function isReplica(db) {
  return pragma(db, 'litestream_txid') !== undefined;
}

// waitForHydration looks at the progress now and then. It asks storage nothing.
async function waitForHydration(db, onProgress, { interval = 100 } = {}) {
  for (let last; ; ) {
    const status = pragma(db, 'litestream_status');
    if (status === undefined) throw new Error('the main database is a local file, and no replica that could be hydrated');
    const { hydration } = JSON.parse(status);
    const text = JSON.stringify(hydration);
    if (text !== last) onProgress?.(hydration);
    last = text;
    if (hydration.status === 'complete') return hydration;
    if (hydration.status === 'failed') throw new Error(`hydration failed: ${hydration.error}`);
    if (hydration.status === 'on_demand') throw new Error('hydration does not copy the database, because the option hydration_mode is pages');
    if (!hydration.enabled) throw new Error('hydration is not enabled, set the option hydration_enabled');
    await new Promise((resolve) => setTimeout(resolve, interval));
  }
}

// distance returns the number of letters to insert, delete or replace to turn a into b.
function distance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}

// nearest returns the name that a misspelt one most likely means, undefined if there is none.
function nearest(misspelt, names) {
  const all = [...names].map((name) => ({ name, d: distance(misspelt, name) })).sort((a, b) => a.d - b.d);
  return all[0].d <= Math.max(2, all[0].name.length / 3) ? all[0].name : undefined;
}

// settings returns the options that are set, as text.
function settings(options) {
  const all = {};
  for (const [name, value] of Object.entries(options ?? {})) {
    if (!optionNames.has(name)) {
      const meant = nearest(name, optionNames);
      throw new TypeError(`no option ${JSON.stringify(name)}` + (meant ? `, did you mean ${JSON.stringify(meant)}?` : ''));
    }
    if (value === undefined) continue;
    if (!['string', 'number', 'boolean'].includes(typeof value)) {
      throw new TypeError(`option ${name}: want a string, a number or a boolean`);
    }
    all[name] = String(value);
  }
  return all;
}

function checkURL(url) {
  if (typeof url !== 'string' || url === '') {
    throw new TypeError('want the URL of a replica, a string');
  }
}

// encode leaves nothing that means something to a URI, or to SQL in quotes.
function encode(s) {
  return encodeURIComponent(s).replace(/[!'()*]/g, (c) => '%' + c.charCodeAt(0).toString(16).toUpperCase());
}

function uri(url, options) {
  checkURL(url);
  // The name is for logs. It is absolute so as not to be that of a local file, and need not be there.
  const name = url.split(/[?#]/)[0].match(/([^/@]{1,100})\/*$/)?.[1] ?? 'database';
  const params = Object.entries({ vfs: 'litestream', replica_url: url, ...settings(options) });
  return `file:/litestream/${encode(name)}?` + params.map(([key, value]) => `${key}=${encode(value)}`).join('&');
}

function environment(url, options) {
  checkURL(url);
  const variables = { LITESTREAM_DEFAULT_VFS: 'true', LITESTREAM_REPLICA_URL: url };
  for (const [name, value] of Object.entries(settings(options))) {
    variables[`LITESTREAM_${name.toUpperCase()}`] = value;
  }
  return variables;
}

// withEnvironment calls f while the process has the variables.
function withEnvironment(variables, f) {
  const before = {};
  for (const [name, value] of Object.entries(variables)) {
    if (process.env[name] !== value) before[name] = process.env[name];
  }
  if (!isMainThread && Object.keys(before).length > 0) {
    throw new Error(
      'a worker has a copy of the environment, which SQLite does not see: before it is started, call ' +
        `load(Database) in the main thread, or set ${Object.keys(before).join(', ')} there`,
    );
  }
  try {
    for (const name of Object.keys(before)) process.env[name] = variables[name];
    return f();
  } finally {
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

function open(Database, url, options, databaseOptions) {
  if (typeof Database !== 'function') {
    throw new TypeError('want the class Database of better-sqlite3');
  }
  const name = uri(url, options);
  if (!takesURIs(Database)) return openDefault(Database, url, options, databaseOptions);
  load(Database);
  return new Database(name, databaseOptions);
}

// openDefault opens a replica where names cannot be URIs. The extension becomes the
// default VFS, and the replica that of the environment.
function openDefault(Database, url, options, databaseOptions) {
  return withEnvironment(environment(url, options), () => {
    const memory = new Database(':memory:');
    try {
      load(memory);
    } finally {
      memory.close();
    }
    let db;
    try {
      // If SQLite takes the name for a local file after all, it must not make one.
      db = new Database(openName, { ...databaseOptions, fileMustExist: true });
    } catch (err) {
      if (err?.message !== 'unable to open database file') throw err;
      throw notOurs(err);
    }
    if (!isReplica(db)) {
      db.close();
      throw notOurs();
    }
    return db;
  });
}

function lastError(db) {
  if (typeof db?.prepare !== 'function') {
    throw new TypeError('want a Database of better-sqlite3, or a DatabaseSync of node:sqlite');
  }
  const statement = db.prepare('PRAGMA main.litestream_status');
  if (statement.reader === false) return undefined; // better-sqlite3 takes the PRAGMA of a local file for a statement without rows
  const row = statement.get();
  return row ? JSON.parse(Object.values(row)[0]).last_error?.text : undefined;
}

// notOurs is the error of an open that SQLite gave to another VFS.
function notOurs(cause) {
  return new Error(
    'SQLite did not open the replica: better-sqlite3 was used before without SQLITE_USE_URI=1, and ' +
      'the extension was loaded before without LITESTREAM_DEFAULT_VFS=true, ' +
      'a database was opened with LITESTREAM_REPLICA_URL under another name, ' +
      `or a worker has an environment of its own, or there is a file ${openName}`,
    { cause },
  );
}

module.exports = { getLoadablePath, load, uri, environment, open, isReplica, waitForHydration, lastError };
