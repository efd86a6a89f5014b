'use strict';
// The command line that the programs of this folder have in common.
//
//   PROGRAM add TITLE    # adds to the list in write mode, and prints the transaction
//   PROGRAM list         # prints the list
//   PROGRAM follow       # prints the list, then waits for each transaction on standard input and prints it again

const readline = require('node:readline');

process.env.LITESTREAM_LOG_LEVEL ??= 'warn';

// Where the replica is: file:///path, s3://bucket/path, gs://bucket/path or abs://container/path.
const url = process.env.LITESTREAM_REPLICA_URL ?? 'file:///tmp/todos';

const [command, ...args] = process.argv.slice(2);

// One process at a time can write.
const isWriter = command === 'add';

// run runs the command. add takes a title and returns a transaction, titles
// returns a list, and wait takes a transaction.
async function run({ add, titles, wait, close }) {
  const show = async () => console.log((await titles()).join(', '));
  if (command === 'add' && args.length === 1) {
    console.log(await add(args[0]));
  } else if (['list', 'follow'].includes(command) && args.length === 0) {
    await show();
    if (command === 'follow') {
      for await (const line of readline.createInterface({ input: process.stdin })) {
        await wait(line);
        await show();
      }
    }
  } else {
    throw new Error('want add TITLE, list or follow');
  }
  await close();
}

module.exports = { url, isWriter, run };
