# frozen_string_literal: true

# Forks a process that has loaded the extension, and one more that ends at once. Each line is what
# came of something.

require "json"
require "sqlite3"

require "litestream_vfs"

def tell(what)
  result = yield
  puts JSON.generate([what, result])
rescue StandardError => e
  puts JSON.generate([what, e.message])
end

$stdout.sync = true
url, local = ARGV
db = LitestreamVfs.connect(url)
count = -> { db.get_first_value("SELECT count(*) FROM sandwich_ratings") }
tell("parent before", &count)
child = fork do
  tell("query", &count)
  tell("function") { db.get_first_value("SELECT litestream_txid()") }
  tell("pragma") { db.get_first_value("PRAGMA litestream_txid") }
  tell("connect") { LitestreamVfs.connect(url) }
  tell("open") { SQLite3::Database.new(LitestreamVfs.uri(url)) }
  tell("local") { SQLite3::Database.new(local).get_first_value("SELECT x FROM t") }
  tell("close") { db.close.closed? }
end
Process.wait(child)
tell("child") { $?.exitstatus }
idle = fork {}
Process.wait(idle)
tell("idle child") { $?.exitstatus }
tell("parent after", &count)
tell("parent connects") { LitestreamVfs.connect(url).get_first_value("SELECT count(*) FROM sandwich_ratings") }
tell("subprocess") { `echo works`.chomp }
db.close
