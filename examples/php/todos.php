<?php
// A to-do list on object storage, with PDO.
//
//   php -d sqlite3.extension_dir=build/linux-amd64 todos.php add TITLE   # adds in write mode, and prints the transaction
//   ... todos.php list     # prints the list
//   ... todos.php follow   # prints the list, then waits for each transaction on standard input and prints it again
//
// LITESTREAM_REPLICA_URL is the place of the replica: file:///path, or s3://bucket/path.
declare(strict_types=1);

getenv('LITESTREAM_LOG_LEVEL') || putenv('LITESTREAM_LOG_LEVEL=warn');
$url = getenv('LITESTREAM_REPLICA_URL') ?: 'file:///tmp/todos';
[$command, $title] = [$argv[1] ?? '', $argv[2] ?? null];

// The class SQLite3 loads the library into the process, and PDO opens names that are URIs.
(new SQLite3(':memory:'))->loadExtension('litestream.so');
$name = 'file:todos.db?vfs=litestream&replica_url=' . rawurlencode($url);
if ($command === 'add') {
    $name .= '&write_enabled=1'; // one process at a time can write
}
$db = new PDO('sqlite:' . $name);

$show = function () use ($db): void {
    $titles = $db->query('SELECT title FROM todos ORDER BY id')->fetchAll(PDO::FETCH_COLUMN);
    echo implode(', ', $titles), "\n";
};

if ($command === 'add' && $title !== null) {
    $db->exec('CREATE TABLE IF NOT EXISTS todos (id INTEGER PRIMARY KEY, title TEXT NOT NULL)');
    $db->prepare('INSERT INTO todos (title) VALUES (?)')->execute([$title]);
    echo $db->query('SELECT litestream_sync()')->fetchColumn(), "\n";
} elseif ($command === 'list') {
    $show();
} elseif ($command === 'follow') {
    $show();
    $wait = $db->prepare('SELECT litestream_wait(?, 10)');
    while (($line = fgets(STDIN)) !== false) {
        $wait->execute([trim($line)]);
        $wait->closeCursor();
        $show();
    }
} else {
    fwrite(STDERR, "todos.php: want add TITLE, list or follow\n");
    exit(1);
}
