#!/usr/bin/perl
# A to-do list on object storage, with DBI and DBD::SQLite.
#
#   todos.pl add TITLE   # adds in write mode, and prints the transaction
#   todos.pl list        # prints the list
#   todos.pl follow      # prints the list, then waits for each transaction on standard input and prints it again
#
# LITESTREAM_REPLICA_URL is the place of the replica: file:///path, or s3://bucket/path.
# TODOS_LIBRARY is the path of the library.
use strict;
use warnings;

use DBI;

$ENV{LITESTREAM_LOG_LEVEL} //= 'warn';
my $url = $ENV{LITESTREAM_REPLICA_URL} // 'file:///tmp/todos';
my $library = $ENV{TODOS_LIBRARY} // 'build/linux-amd64/litestream.so';
my ($command, $title) = (@ARGV, '', '');

# Any connection loads the library into the process.
my $memory = DBI->connect('dbi:SQLite::memory:', '', '', { RaiseError => 1 });
$memory->sqlite_enable_load_extension(1);
$memory->sqlite_load_extension($library);

my $encoded = $url =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ger;
my $name = "file:todos.db?vfs=litestream&replica_url=$encoded";
$name .= '&write_enabled=1' if $command eq 'add';    # one process at a time can write
my $db = DBI->connect("dbi:SQLite:uri=$name", '', '', { RaiseError => 1 });

$| = 1;
sub show { print join(', ', @{ $db->selectcol_arrayref('SELECT title FROM todos ORDER BY id') }), "\n" }

if ($command eq 'add' && $title ne '') {
    $db->do('CREATE TABLE IF NOT EXISTS todos (id INTEGER PRIMARY KEY, title TEXT NOT NULL)');
    $db->do('INSERT INTO todos (title) VALUES (?)', undef, $title);
    print $db->selectrow_array('SELECT litestream_sync()'), "\n";
} elsif ($command eq 'list') {
    show();
} elsif ($command eq 'follow') {
    show();
    while (my $txid = <STDIN>) {
        chomp $txid;
        $db->selectrow_array('SELECT litestream_wait(?, 10)', undef, $txid);
        show();
    }
} else {
    die "todos.pl: want add TITLE, list or follow\n";
}
$db->disconnect;
