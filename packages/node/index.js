'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { isMainThread } = require('node:worker_threads');

// The options of a database that a file name or the environment can set.
const optionNames = new Set([
  'poll_interval', 'poll_idle_after', 'cache_size', 'read_ahead_size', 'hedge_requests',
  'open_timeout', 'read_timeout', 'close_timeout', 'close_delay',
  'hydration_enabled', 'hydration_path', 'hydration_concurrency', 'hydration_rate_limit',
  'write_enabled', 'sync_interval', 'buffer_path', 'buffer_max_size', 'sync_on_commit',
  'compaction_disabled', 'compaction_levels', 'snapshot_interval', 'snapshot_retention', 'l0_retention',
]);

// The file name of what open opens. No such file must exist, but better-sqlite3
// wants its directory to.
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
  if (typeof db?.loadExtension !== 'function') {
    throw new TypeError('want a Database of better-sqlite3, or a DatabaseSync of node:sqlite');
  }
  db.loadExtension(getLoadablePath());
}

// settings returns the options that are set, as text.
function settings(options) {
  const all = {};
  for (const [name, value] of Object.entries(options ?? {})) {
    if (!optionNames.has(name)) {
      throw new TypeError(`no option ${JSON.stringify(name)}`);
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
      'a worker has a copy of the environment, which SQLite does not see: before it is started, do ' +
        'Object.assign(process.env, environment(url, options)) in the main thread, ' +
        `for ${Object.keys(before).join(', ')}`,
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
  return withEnvironment(environment(url, options), () => {
    const memory = new Database(':memory:');
    try {
      load(memory);
    } finally {
      memory.close();
    }
    let db;
    try {
      // Should it come to a local file after all, that must not be made.
      db = new Database(openName, { ...databaseOptions, fileMustExist: true });
    } catch (err) {
      if (err?.message !== 'unable to open database file') throw err;
      throw notOurs(err);
    }
    if (db.pragma('litestream_txid').length === 0) {
      db.close();
      throw notOurs();
    }
    return db;
  });
}

// notOurs is the error of an open that SQLite gave to another VFS.
function notOurs(cause) {
  return new Error(
    'SQLite did not open the replica: the extension was loaded before without LITESTREAM_DEFAULT_VFS=true, ' +
      'a database was opened with LITESTREAM_REPLICA_URL under another name, ' +
      `or a worker has an environment of its own, or there is a file ${openName}`,
    { cause },
  );
}

module.exports = { getLoadablePath, load, uri, environment, open };
