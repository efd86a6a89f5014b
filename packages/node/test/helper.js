'use strict';
// What the tests have in common: replicas, programs in other processes, and waiting.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const crypto = require('node:crypto');
const events = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');

const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'litestream-node-'));
process.on('exit', () => fs.rmSync(dir, { recursive: true, force: true }));

process.env.LITESTREAM_LOG_FILE ??= path.join(dir, 'log');
process.env.AWS_ACCESS_KEY_ID ??= 'testkey';
process.env.AWS_SECRET_ACCESS_KEY ??= 'testsecret';

const replicas = path.join(__dirname, '../../../testdata/replicas');
const manifest = JSON.parse(fs.readFileSync(path.join(replicas, 'sandwiches/manifest.json')));
const latest = manifest.points.find((p) => p.latest);

let names = 0;

function tempPath(name = 'dir') {
  return path.join(dir, `${++names}-${name}`);
}

// sandwiches returns the URL of a copy of that replica.
function sandwiches() {
  const to = tempPath('sandwiches');
  fs.cpSync(path.join(replicas, 'sandwiches'), to, { recursive: true });
  return 'file://' + to;
}

// stores are where replicas can be made, with the reason why one is skipped.
const stores = [
  { name: 'folder', url: () => 'file://' + tempPath('replica'), skip: false },
  {
    name: 'S3',
    url: () => `s3://${process.env.LITESTREAM_TEST_S3_BUCKET}/${crypto.randomUUID()}/app.db?endpoint=${process.env.LITESTREAM_TEST_S3}`,
    skip: (!process.env.LITESTREAM_TEST_S3 || !process.env.LITESTREAM_TEST_S3_BUCKET) &&
      'LITESTREAM_TEST_S3 or LITESTREAM_TEST_S3_BUCKET is not set, see scripts/servers',
  },
];

// deadPort returns a port that nothing listens on.
async function deadPort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await events.once(server, 'listening');
  const { port } = server.address();
  server.close();
  await events.once(server, 'close');
  return port;
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// eventually waits until f returns what is wanted.
async function eventually(want, f, seconds = 15) {
  const deadline = Date.now() + seconds * 1000;
  let got = await f();
  while (got !== want && Date.now() < deadline) {
    await sleep(20);
    got = await f();
  }
  assert.equal(got, want, `after ${seconds} s`);
}

// tables returns count and hash of each table, as the manifests of replicas have them.
function tables(db) {
  const all = {};
  for (const { name } of db.all("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")) {
    const columns = db.all(`PRAGMA table_info("${name}")`).map((c) => `quote("${c.name}")`);
    const rows = db.all(`SELECT ${columns.join(" || '|' || ")} AS row FROM "${name}" ORDER BY rowid`);
    const hash = crypto.createHash('sha256');
    for (const { row } of rows) hash.update(row + '\n');
    all[name] = { rows: rows.length, sha256: hash.digest('hex') };
  }
  return all;
}

// Program runs connect.js, a connection in another process.
class Program {
  constructor(adapter, env = {}) {
    this.process = spawn(process.execPath, ['--no-warnings', path.join(__dirname, 'programs/connect.js'), adapter], {
      env: { ...process.env, ...env },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.exited = events.once(this.process, 'exit');
    this.lines = readline.createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
  }

  async ask(request) {
    this.process.stdin.write(JSON.stringify(request) + '\n');
    const { value, done } = await this.lines.next();
    if (done) throw new Error(`the program has ended: ${await this.exited}`);
    const { rows, error } = JSON.parse(value);
    if (error) throw new Error(error);
    return rows;
  }

  async end() {
    this.process.stdin.end();
    assert.deepEqual(await this.exited, [0, null], 'exit of a program');
  }
}

module.exports = { Program, deadPort, eventually, latest, manifest, sandwiches, stores, tables, tempPath };
