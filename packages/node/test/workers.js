'use strict';
// Workers that read a replica; each is another thread of this file.

const assert = require('node:assert/strict');
const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads');

const adapters = require('./adapters.js');

// runWorkers has workers look at a replica of sandwiches at different times.
async function runWorkers(adapter, url) {
  const { latest, manifest } = require('./helper.js');
  const points = manifest.points.filter((p, i) => i % 20 === 0);
  await Promise.all(points.map((point) => new Promise((resolve, reject) => {
    const worker = new Worker(__filename, { workerData: { adapter, url, txid: point.txid } });
    let got;
    worker.on('message', (message) => (got = message));
    worker.on('error', reject);
    worker.on('exit', () => {
      try {
        assert.deepEqual(got, { past: point.tables, now: latest.tables });
        resolve();
      } catch (err) {
        reject(err);
      }
    });
  })));
}

if (!isMainThread && workerData?.url) {
  const { tables } = require('./helper.js');
  const { adapter, url, txid } = workerData;
  const past = adapters[adapter].open(url);
  const now = adapters[adapter].open(url);
  past.exec(`PRAGMA litestream_txid = '${txid}'`);
  let got;
  for (let i = 0; i < 5; i++) {
    got = { past: tables(past), now: tables(now) };
  }
  past.close();
  now.close();
  parentPort.postMessage(got);
}

module.exports = { runWorkers };
