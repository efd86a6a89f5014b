'use strict';
// A service that counts ratings, in the processes of a cluster. Each of them is a program of its own, and not a fork,
// so that it may open the database at any time.
//
//   LITESTREAM_REPLICA_URL=s3://bucket/ratings PORT=8000 node cluster.js

const cluster = require('node:cluster');
const http = require('node:http');

if (cluster.isPrimary) {
  for (let i = 0; i < 4; i++) cluster.fork();
  let ending = false;
  // A worker that cannot open the database ends at once, so the next one begins after a second.
  cluster.on('exit', () => setTimeout(() => ending || cluster.fork(), 1000));
  process.on('SIGTERM', () => {
    ending = true;
    cluster.disconnect(() => process.exit(0));
  });
} else {
  const Database = require('better-sqlite3');
  const litestream = require('@ltxvfs/litestream-vfs');

  const db = litestream.open(Database, process.env.LITESTREAM_REPLICA_URL, {
    hydration_enabled: true,
    hydration_path: process.env.RATINGS_COPY ?? '/tmp/ratings.copy',
  });
  const query = db.prepare('SELECT count(*) AS count, litestream_status() AS status FROM sandwich_ratings');

  process.on('SIGTERM', () => {}); // the primary process ends this one
  http
    .createServer((request, response) => {
      const { count, status } = query.get();
      response.setHeader('Content-Type', 'application/json');
      response.end(JSON.stringify({ pid: process.pid, count, hydration: JSON.parse(status).hydration }));
    })
    .listen(process.env.PORT ?? 8000, '127.0.0.1');
}
