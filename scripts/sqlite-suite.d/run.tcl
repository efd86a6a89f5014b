# Runs a file of SQLite's tests without what replicas do not have. SQLite itself has it.
foreach name {mmap shared_cache wal} { set sqlite_options($name) 0 }
set argv0 [lindex $argv 0]
set argv [lrange $argv 1 end]
source $argv0
