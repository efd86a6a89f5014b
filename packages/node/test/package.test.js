'use strict';

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { describe, it } = require('node:test');
const { pathToFileURL } = require('node:url');

const litestream = require('@ltxvfs/litestream-vfs');
const adapters = require('./adapters.js');
const { latest, sandwiches, tempPath } = require('./helper.js');

const root = path.join(__dirname, '../../..');

describe('package', () => {
  it('has a library', () => {
    const library = litestream.getLoadablePath();
    assert.ok(fs.statSync(library).size > 1 << 20);
    assert.equal(path.dirname(library), path.join(path.dirname(require.resolve('@ltxvfs/litestream-vfs')), 'lib', `${process.platform}-${process.arch}`));
  });

  it('says for which machines it has none', () => {
    const arch = Object.getOwnPropertyDescriptor(process, 'arch');
    Object.defineProperty(process, 'arch', { ...arch, value: 'vax' });
    try {
      assert.throws(litestream.getLoadablePath, /litestream-vfs has no library for \w+-vax, only \w+-\w+/);
    } finally {
      Object.defineProperty(process, 'arch', arch);
    }
  });

  it('has the licences of what it contains', () => {
    const notice = fs.readFileSync(path.join(path.dirname(require.resolve('@ltxvfs/litestream-vfs')), 'NOTICE'), 'utf8');
    assert.equal(notice, fs.readFileSync(path.join(root, 'NOTICE'), 'utf8'));
  });

  it('has the version of all packages', () => {
    assert.equal(require('@ltxvfs/litestream-vfs/package.json').version, fs.readFileSync(path.join(root, 'packages/VERSION'), 'utf8').trim());
  });

  it('can be imported', async () => {
    const module = await import(pathToFileURL(require.resolve('@ltxvfs/litestream-vfs')));
    for (const [name, value] of Object.entries(litestream)) assert.equal(module[name], value, name);
  });

  it('knows all options', () => {
    const source = fs.readFileSync(path.join(root, 'options_text.go'), 'utf8');
    const names = [...source.matchAll(/^\t\{"(\w+)", "[A-Z]/gm)].map((match) => match[1]);
    assert.ok(names.length > 20);
    for (const name of names) litestream.uri('file:///x', { [name]: '1' });
    const types = fs.readFileSync(path.join(path.dirname(require.resolve('@ltxvfs/litestream-vfs')), 'index.d.ts'), 'utf8');
    const [options] = types.match(/interface Options \{.*?^\}/ms);
    assert.deepEqual([...options.matchAll(/^ {2}(\w+)\?:/gm)].map((match) => match[1]).sort(), names.sort());
  });

  it('takes only what it knows', () => {
    assert.throws(() => litestream.uri('file:///x', { pollInterval: '1s' }), { name: 'TypeError', message: 'no option "pollInterval", did you mean "poll_interval"?' });
    assert.throws(() => litestream.environment('file:///x', { colour: 1 }), { name: 'TypeError', message: 'no option "colour"' });
    assert.throws(() => litestream.uri('file:///x', { cache_size: null }), { name: 'TypeError', message: 'option cache_size: want a string, a number or a boolean' });
    for (const url of [undefined, '', 7]) {
      assert.throws(() => litestream.uri(url), { name: 'TypeError', message: 'want the URL of a replica, a string' });
      assert.throws(() => litestream.open(class {}, url), { name: 'TypeError', message: 'want the URL of a replica, a string' });
    }
    assert.throws(() => litestream.open(undefined, 'file:///x'), { name: 'TypeError', message: 'want the class Database of better-sqlite3' });
    assert.throws(() => litestream.load({}), { name: 'TypeError', message: 'want Database of better-sqlite3 or DatabaseSync of node:sqlite, the class or an object of it' });
  });

  it('encodes names', () => {
    assert.equal(
      litestream.uri("s3://bucket/it's/app.db?endpoint=http://h:1&x=%41#f", { write_enabled: true, cache_size: 1024, buffer_path: '/a b/ü', sync_interval: undefined }),
      'file:/litestream/app.db?vfs=litestream&replica_url=s3%3A%2F%2Fbucket%2Fit%27s%2Fapp.db%3Fendpoint%3Dhttp%3A%2F%2Fh%3A1%26x%3D%2541%23f' +
        '&write_enabled=true&cache_size=1024&buffer_path=%2Fa%20b%2F%C3%BC',
    );
    assert.match(litestream.uri('abs://user:secret@container'), /^file:\/litestream\/container\?/);
    assert.deepEqual(litestream.environment('s3://b/x', { write_enabled: false, poll_interval: '2s' }), {
      LITESTREAM_DEFAULT_VFS: 'true',
      LITESTREAM_REPLICA_URL: 's3://b/x',
      LITESTREAM_WRITE_ENABLED: 'false',
      LITESTREAM_POLL_INTERVAL: '2s',
    });
  });
});

describe('README', () => {
  const readme = fs.readFileSync(path.join(path.dirname(require.resolve('@ltxvfs/litestream-vfs')), 'README.md'), 'utf8');
  const examples = [...readme.matchAll(/^```js\n(.*?)^```/gms)].map((match) => match[1]);
  const { rows } = latest.tables.sandwich_ratings;
  const changed = 3994; // ratings that the disaster changed, and later ones
  const want = [
    `{ n: ${rows} }\n{ time: '2026-03-14T11:59:48.309Z' }\n{ n: ${rows} }\n`,
    `{ n: ${changed} }\n`,
    `{ n: ${rows} }\n`,
    `[Object: null prototype] { n: ${changed} }\n`,
    'all 72 pages are local\n',
  ];
  assert.equal(examples.length, want.length);

  examples.forEach((example, i) => {
    const { skip } = adapters[example.includes('node:sqlite') ? 'node:sqlite' : 'better-sqlite3'];
    it(`has an example ${i + 1} that works`, { skip }, () => {
      const file = tempPath('example.js');
      fs.writeFileSync(file, example
        .replaceAll('s3://bucket/app.db', sandwiches())
        .replaceAll('users', 'sandwich_ratings')
        .replaceAll('5 minutes ago', '2026-03-14 11:59:49'));
      const got = execFileSync(process.execPath, ['--no-warnings', file], { encoding: 'utf8', timeout: 20_000 });
      assert.equal(got, want[i]);
    });
  });
});
